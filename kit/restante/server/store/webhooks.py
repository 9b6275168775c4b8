"""Webhooks and their deliveries. A delivery's id names webhook and message, so that none is ever queued twice."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restante.server.store.base import ConflictError, NotFoundError
from restante.server.store.tx import Row, Tx

EVENT = "message.received"
PAGE = 500


@dataclass(frozen=True, slots=True)
class Webhook:
    """`secrets`: (secret, Unix time until which it signs, or None), the newest first. `inboxes`: addresses; all when empty."""

    id: str
    client_id: str | None
    url: str
    event_types: Sequence[str]
    inboxes: Sequence[str]
    headers: Mapping[str, str]
    secrets: Sequence[tuple[str, float | None]]
    state: str
    reason: str | None
    created_at: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One message on its way to one webhook. `state`: pending, delivered or failed. `received_at`: None once the message is gone."""

    id: str
    webhook_id: str
    inbox_id: int
    seq: int
    event_type: str
    state: str
    attempts: int
    next_at: float
    status: int | None
    last_error: str | None
    created_at: float
    received_at: float | None


def new_secret() -> str:
    """As Standard Webhooks writes them: 24 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def _webhook(row: Row) -> Webhook:
    kept = [(secret, until) for secret, until in json.loads(row[6])]
    return Webhook(row[0], row[1], row[2], json.loads(row[3]), json.loads(row[4]), json.loads(row[5]), kept, *row[7:])


def get(tx: Tx, webhook_id: str) -> Webhook:
    if row := tx.one("webhook", id=webhook_id):
        return _webhook(row)
    raise NotFoundError(f"there is no webhook {webhook_id}")


def everyone(tx: Tx) -> list[Webhook]:
    return [_webhook(row) for row in tx.all("webhooks")]


def create(
    tx: Tx,
    url: str,
    *,
    event_types: Sequence[str],
    inboxes: Sequence[str],
    headers: Mapping[str, str],
    client_id: str | None,
) -> tuple[Webhook, bool]:
    """It is told of mail from now on. The same `client_id` again gives the one that is there."""
    if client_id and (row := tx.one("webhook_by_client_id", client_id=client_id)):
        found = _webhook(row)
        if found.url != url:
            raise ConflictError(f"the client_id {client_id!r} belongs to the webhook {found.id}")
        return found, False
    webhook_id = f"wh_{secrets.token_hex(8)}"
    tx.run(
        "insert_webhook", id=webhook_id, client_id=client_id, url=url, event_types=json.dumps(list(event_types)),
        inbox_ids=json.dumps([each.lower() for each in inboxes]), headers=json.dumps(dict(headers)),
        secrets=json.dumps([(new_secret(), None)]), now=tx.now,
    )  # fmt: skip
    for row in tx.all("inbox_page", after=0, limit=2**31):
        tx.run("set_webhook_position", webhook_id=webhook_id, inbox_id=row[0], seq=row[6])
    return get(tx, webhook_id), True


def update(tx: Tx, webhook_id: str, **changes: Any) -> Webhook:
    """`changes`: url, inboxes, headers, secrets, state, reason; what is absent stays. Active again, its failures are retried."""
    found = get(tx, webhook_id)
    new = {
        name: changes.get(name, getattr(found, name))
        for name in ("url", "inboxes", "headers", "secrets", "state", "reason")
    }
    if new["state"] == "active":
        new["reason"] = None
        if found.state != "active":
            tx.run("retry_webhook_deliveries", webhook_id=webhook_id, now=tx.now)
    tx.run(
        "update_webhook", id=webhook_id, url=new["url"], event_types=json.dumps(list(found.event_types)),
        inbox_ids=json.dumps([each.lower() for each in new["inboxes"]]), headers=json.dumps(dict(new["headers"])),
        secrets=json.dumps([list(each) for each in new["secrets"]]), state=new["state"], reason=new["reason"],
    )  # fmt: skip
    return get(tx, webhook_id)


def rotate(tx: Tx, webhook_id: str, overlap_s: float) -> Webhook:
    """A new secret; the old one signs too for `overlap_s`."""
    found = get(tx, webhook_id)
    return update(tx, webhook_id, secrets=[(new_secret(), None), (found.secrets[0][0], tx.now + overlap_s)])


def delete(tx: Tx, webhook_id: str) -> None:
    get(tx, webhook_id)
    tx.run("forget_webhook_deliveries", webhook_id=webhook_id)
    tx.run("forget_webhook_positions", webhook_id=webhook_id)
    tx.run("delete_webhook", id=webhook_id)


def queue(tx: Tx) -> int:
    """Queue a delivery for each message that a webhook has not been told of; how many. For one that is paused they wait in the inbox."""
    made = 0
    for hook in (each for each in everyone(tx) if each.state == "active"):
        for inbox_id, head, position, address in tx.all("webhook_behind", webhook_id=hook.id):
            upto = min(head, (position or 0) + PAGE)
            if not hook.inboxes or address in hook.inboxes:
                for seq in range((position or 0) + 1, upto + 1):
                    made += _queue(tx, hook.id, inbox_id, seq)
            else:
                upto = head
            tx.run("set_webhook_position", webhook_id=hook.id, inbox_id=inbox_id, seq=upto)
    return made


def _queue(tx: Tx, webhook_id: str, inbox_id: int, seq: int) -> int:
    name = f"{webhook_id}-{inbox_id:x}-{seq:x}"
    return tx.run(
        "insert_webhook_delivery",
        id=name,
        webhook_id=webhook_id,
        inbox_id=inbox_id,
        seq=seq,
        event_type=EVENT,
        next_at=tx.now,
        now=tx.now,
    )


def recover(tx: Tx, webhook_id: str, since: float, until: float) -> int:
    """Send what was received in [since, until) again; how many messages."""
    hook = get(tx, webhook_id)
    told = [row for row in tx.all("inbox_page", after=0, limit=2**31) if not hook.inboxes or row[1] in hook.inboxes]
    seqs = [(row[0], seq) for row in told for seq in _received(tx, row[0], since, until)]
    for inbox_id, seq in seqs:
        if not _queue(tx, webhook_id, inbox_id, seq):
            tx.run("repeat_webhook_delivery", id=f"{webhook_id}-{inbox_id:x}-{seq:x}", now=tx.now)
    return len(seqs)


def _received(tx: Tx, inbox_id: int, since: float, until: float) -> Iterator[int]:
    after = 0
    while rows := tx.all("received_between", inbox_id=inbox_id, after=after, since=since, until=until, limit=PAGE):
        yield from (row[0] for row in rows)
        after = rows[-1][0]


def claim(tx: Tx, limit: int, hold_s: float) -> list[tuple[Attempt, Webhook]]:
    """Due deliveries, each held from other servers for `hold_s`."""
    found = []
    for row in tx.all("webhook_deliveries_due", now=tx.now, limit=limit):
        each = Attempt(*row)
        if tx.run("claim_webhook_delivery", id=each.id, next_at=each.next_at, until=tx.now + hold_s):
            found.append((each, get(tx, each.webhook_id)))
    return found


def finish(tx: Tx, each: Attempt, *, state: str, next_at: float, status: int | None, error: str | None) -> None:
    tx.run(
        "update_webhook_delivery",
        id=each.id,
        state=state,
        attempts=each.attempts + 1,
        next_at=next_at,
        status=status,
        last_error=error,
    )


def deliveries(tx: Tx, webhook_id: str, limit: int) -> list[Attempt]:
    get(tx, webhook_id)
    return [Attempt(*row) for row in tx.all("webhook_delivery_page", webhook_id=webhook_id, limit=limit)]
