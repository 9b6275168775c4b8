"""What was asked once is done once: by an Idempotency-Key of a token, or by a ticket. Kept for a day (retention.purge)."""

from __future__ import annotations

from restante.server.store.tx import Tx


def claim(tx: Tx, owner: str, key: str, request: bytes = b"") -> bool:
    """Whether `key` is new to `owner`. On PostgreSQL another server that claims it waits until this transaction ends."""
    return bool(tx.run("claim_idempotent", token_id=owner, key=key, request=request, now=tx.now))


def keep(tx: Tx, owner: str, key: str, status: int, response: str) -> None:
    """The answer, for whoever asks again."""
    tx.run("keep_idempotent", token_id=owner, key=key, status=status, response=response)


def kept(tx: Tx, owner: str, key: str) -> tuple[bytes, int, str]:
    """(request, status, response) of the first time."""
    request, status, response = tx.one("idempotent", token_id=owner, key=key) or (b"", 0, "")
    return bytes(request), status, response
