"""What goes: settled mail after its time, and early when an inbox is nearly full; never what is not settled."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from restante.server.store.tx import Row, Tx

CHUNK = 200  # messages a transaction removes: ingestion waits behind it
FULL = 0.9  # of the quota, from where on settled mail makes room before its time


@dataclass(frozen=True)
class Policy:
    """Seconds and bytes for inboxes without their own."""

    retention_s: int
    quota_bytes: int
    hop_retention_s: int


def inboxes(tx: Tx, after: int) -> list[int]:
    """Those that hold anything, in order of id."""
    return [row[0] for row in tx.all("inboxes_to_settle", after=after, limit=100)]


def settle(tx: Tx, inbox_id: int, policy: Policy) -> int:
    """Note how far one inbox is settled, and remove one chunk of what has stayed long enough; how many were removed."""
    # Another server's retention, what comes in, and who seeks back wait for us; what they did before is seen below.
    tx.all("lock_inbox", inbox_id=inbox_id)
    tx.all("lock_consumers", inbox_id=inbox_id)
    row = tx.one("inbox_to_settle", inbox_id=inbox_id)
    if row is None:
        return 0
    oldest, retention, quota, used, frontier, waiting, dead = row
    floor = min(number for number in (frontier, _before(waiting), _before(dead)) if number is not None)
    if floor >= oldest and floor > (_one(tx, "settled_latest", inbox_id=inbox_id) or 0):
        tx.run("mark_settled", inbox_id=inbox_id, seq=floor, now=tx.now)
    rows = _settled(tx, inbox_id, floor, tx.now - (policy.retention_s if retention is None else retention))
    surplus = used - FULL * (policy.quota_bytes if quota is None else quota)
    if not rows and surplus > 0:
        rows = _as_many_as_hold(surplus, _settled(tx, inbox_id, floor, tx.now))
    return _remove(tx, inbox_id, rows)


def _before(number: int | None) -> int | None:
    return None if number is None else number - 1


def _one(tx: Tx, statement: str, /, **parameters: object) -> int | None:
    row = tx.one(statement, **parameters)
    return row[0] if row else None


def _settled(tx: Tx, inbox_id: int, floor: int, before: float) -> list[Row]:
    """The first chunk of what was settled before then, and is so still: a consumer may have been set back since."""
    upto = _one(tx, "settled_before", inbox_id=inbox_id, before=before)
    return tx.all("expired_messages", inbox_id=inbox_id, upto=min(upto, floor), limit=CHUNK) if upto else []


def _as_many_as_hold(size: float, rows: list[Row]) -> list[Row]:
    passed = itertools.accumulate((row[2] for row in rows), initial=0)
    return [row for row, before in zip(rows, passed, strict=False) if before < size]


def _remove(tx: Tx, inbox_id: int, gone: list[Row]) -> int:
    if not gone:
        return 0
    last = gone[-1][0]
    tx.run("delete_messages_upto", inbox_id=inbox_id, upto=last)
    tx.run("delete_unused_bodies", ids=[row[1] for row in gone])
    tx.run("forget_settled", inbox_id=inbox_id, seq=last)
    tx.run("moved_oldest", inbox_id=inbox_id, oldest=last + 1, bytes=sum(row[2] for row in gone))
    return len(gone)


def purge(tx: Tx, policy: Policy) -> None:
    """Hop identities outlive Postfix's queue, so that no retry is taken for a new mail."""
    tx.run("purge_hops", before=tx.now - policy.hop_retention_s)
    tx.run("purge_idempotent", before=tx.now - 86_400)
    tx.run("purge_webhook_deliveries", before=tx.now - 30 * 86_400)
