"""Tokens: kept as digests only. A token is 128 random bits, so one SHA-256 of it can't be searched."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence

from restante.server.store.base import ConflictError, NotFoundError, Token
from restante.server.store.tx import Row, Tx

PREFIX = "rst"


def mint() -> tuple[str, str, bytes]:
    """(id, the token itself, its digest). The token is shown once, and kept nowhere."""
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(24)
    return token_id, f"{PREFIX}_{token_id}_{secret}", _digest(secret)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _token(row: Row) -> Token:
    token_id, name, digest, admin, scopes, created, used, revoked = row
    return Token(token_id, name, bytes(digest), bool(admin), json.loads(scopes), created, used, revoked)


def add(tx: Tx, token_id: str, digest: bytes, name: str, *, admin: bool, scopes: Mapping[str, Sequence[str]]) -> Token:
    tx.run(
        "insert_token", id=token_id, name=name, digest=digest, admin=admin, scopes=json.dumps(dict(scopes)), now=tx.now
    )
    return get(tx, token_id)


def get(tx: Tx, token_id: str) -> Token:
    if row := tx.one("token", id=token_id):
        return _token(row)
    raise NotFoundError(f"there is no token {token_id}")


def everyone(tx: Tx) -> list[Token]:
    return [_token(row) for row in tx.all("tokens")]


def revoke(tx: Tx, token_id: str) -> Token:
    found = get(tx, token_id)
    if found.revoked_at:
        raise ConflictError(f"the token {token_id} is revoked already")
    tx.run("revoke_token", id=token_id, now=tx.now)
    return get(tx, token_id)


def authenticate(tx: Tx, text: str) -> Token | None:
    """The token that `text` is, if there is one and it was not revoked."""
    prefix, _, rest = text.partition("_")
    token_id, _, secret = rest.partition("_")
    row = tx.one("token", id=token_id) if prefix == PREFIX and len(text) < 100 else None
    found = _token(row) if row else None
    if found and not found.revoked_at and hmac.compare_digest(found.digest, _digest(secret)):
        return found
    return None


def used(tx: Tx, when: Mapping[str, float]) -> None:
    for token_id, at in when.items():
        tx.run("use_token", id=token_id, at=at)
