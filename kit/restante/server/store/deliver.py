"""Receive, acknowledge, put back: the life of a delivery. STATES is what docs/explanation draws."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restante.server.store.base import (
    Batch,
    Delivery,
    Handle,
    HandleResult,
    NotFoundError,
    Receive,
    Summary,
    TooOldError,
)
from restante.server.store.tx import Tx, value

# (state, what happens, next state). A message without a row is ready above the frontier, settled below it.
STATES = (
    ("ready", "receive", "leased"),
    ("leased", "ack", "settled"),
    ("leased", "extend", "leased"),
    ("leased", "nack, or the lease runs out, with attempts left", "waiting"),
    ("leased", "nack, or the lease runs out, after the last attempt", "dead"),
    ("waiting", "its delay is over", "ready"),
    ("dead", "redrive", "ready"),
    ("dead", "discard", "settled"),
    ("settled", "seek to a cursor before it", "ready"),
    ("settled", "retention", "removed"),
)
RAN_OUT = "the lease ran out"
BATCH_BYTES = 32 << 20  # of mail in one answer: a hundred of 25 MiB would fill the memory of both ends


@dataclass(frozen=True, slots=True)
class _Candidate:
    seq: int
    attempts: int
    first_received_at: float


def receive(tx: Tx, inbox_id: int, request: Receive) -> Batch:
    """Hand over what is due again, then what is new. Raises NotFoundError without such a consumer."""
    consumer_id, frontier, leases = _consumer(tx, inbox_id, request.consumer)
    if request.acknowledge:
        owner, first, last = request.acknowledge
        if owner != consumer_id:
            raise NotFoundError(
                "ack_batch names a batch of another consumer; nothing was acknowledged, and nothing received"
            )
        tx.run("settle_leases", consumer_id=consumer_id, first=first, last=last)
    _, head, oldest = tx.one("head", inbox_id=inbox_id) or ("", 0, 1)
    frontier = max(frontier, oldest - 1)
    if request.attempt_id and (again := _again(tx, consumer_id, inbox_id, request.attempt_id)):
        return _batch(tx, consumer_id, again, frontier, head)
    found, summaries, dead = _chosen(tx, consumer_id, inbox_id, request, range(frontier + 1, head + 1))
    frontier = max([frontier, *(item.seq for item in found)])
    rows = [
        {
            "consumer_id": consumer_id, "seq": item.seq, "lease": leases + number, "attempts": item.attempts + 1,
            "ready_at": tx.now + request.lease_s, "first_received_at": item.first_received_at, "leased": True,
            "worker": request.worker, "attempt_id": request.attempt_id,
        }
        for number, item in enumerate(found, start=1)
    ]  # fmt: skip
    tx.many("put_delivery", rows)
    tx.run("touch_consumer", consumer_id=consumer_id, frontier=frontier, leases=leases + len(rows), now=tx.now)
    return _batch(tx, consumer_id, _deliveries(summaries, rows), frontier, head, dead)


def _chosen(
    tx: Tx, consumer_id: int, inbox_id: int, request: Receive, new: range
) -> tuple[list[_Candidate], dict[int, Summary], int]:
    """What is due, then what is new, as far as one answer may hold; at least one. And how many died."""
    due, dead = _due(tx, consumer_id, request)
    found = due + [_Candidate(seq, 0, tx.now) for seq in new[: request.max_messages - len(due)]]
    summaries = _summaries(tx, inbox_id, [item.seq for item in found])
    sizes = itertools.accumulate(summaries[item.seq].size for item in found)
    within = sum(size <= BATCH_BYTES for size in sizes)
    return found[: max(1, within)], summaries, dead


def _consumer(tx: Tx, inbox_id: int, name: str) -> tuple[int, int, int]:
    row = tx.one("lock_consumer", inbox_id=inbox_id, name=name)
    if row is None:
        raise NotFoundError(
            f"there is no consumer {name!r} on this inbox; create it first, a typo would pin mail for ever"
        )
    return row[0], row[1], row[2]


def _again(tx: Tx, consumer_id: int, inbox_id: int, attempt_id: str) -> list[Delivery]:
    rows = tx.all("deliveries_of_attempt", consumer_id=consumer_id, attempt_id=attempt_id, now=tx.now)
    names = ("seq", "lease", "attempts", "ready_at", "first_received_at")
    summaries = _summaries(tx, inbox_id, [row[0] for row in rows])
    return _deliveries(summaries, [dict(zip(names, row, strict=True)) for row in rows])


def _due(tx: Tx, consumer_id: int, request: Receive) -> tuple[list[_Candidate], int]:
    """What comes again: the worker's own leases, then what is due. What has no attempt left becomes a dead letter."""
    limit, found, dead = request.max_messages, [], 0
    if request.worker and request.reclaim:
        rows = tx.all("deliveries_of_worker", consumer_id=consumer_id, worker=request.worker, now=tx.now, limit=limit)
        again, gone = _living(tx, consumer_id, rows, request.attempts)
        found, dead = again, gone
    while len(found) < limit:
        rows = tx.all("deliveries_due", consumer_id=consumer_id, now=tx.now, limit=limit - len(found))
        again, gone = _living(tx, consumer_id, rows, request.attempts)
        found, dead = found + again, dead + gone
        if not gone:
            break
    return sorted(found, key=lambda item: item.seq), dead


def _living(tx: Tx, consumer_id: int, rows: Sequence[Sequence[Any]], attempts: int) -> tuple[list[_Candidate], int]:
    spent = [row for row in rows if row[2] >= attempts]
    bury(tx, [(consumer_id, *row) for row in spent])
    return [_Candidate(row[0], row[2], row[3]) for row in rows if row[2] < attempts], len(spent)


def bury(tx: Tx, rows: Iterable[Sequence[Any]]) -> None:
    """Deliveries -> dead letters. Rows: consumer, seq, lease, attempts, first received, last reason."""
    dead = [
        {
            "consumer_id": consumer, "seq": seq, "lease": lease, "attempts": attempts, "first_received_at": first,
            "last_error": reason, "reason": f"{attempts} attempts, none acknowledged", "died_at": tx.now,
        }
        for consumer, seq, lease, attempts, first, reason in rows
    ]  # fmt: skip
    tx.many("put_dead_letter", dead)
    tx.many("delete_delivery", [{"consumer_id": row["consumer_id"], "seq": row["seq"]} for row in dead])


def _summaries(tx: Tx, inbox_id: int, seqs: list[int]) -> dict[int, Summary]:
    return {row[1]: Summary(*row) for row in tx.all("messages_among", inbox_id=inbox_id, seqs=seqs)} if seqs else {}


def _deliveries(summaries: Mapping[int, Summary], rows: Sequence[Mapping[str, Any]]) -> list[Delivery]:
    return [
        Delivery(summaries[row["seq"]], row["lease"], row["attempts"], row["first_received_at"], row["ready_at"])
        for row in rows
    ]


def _batch(tx: Tx, consumer_id: int, found: list[Delivery], frontier: int, head: int, dead: int = 0) -> Batch:
    waiting = value(tx, "count_due", consumer_id=consumer_id, now=tx.now)
    following = None if found else value(tx, "next_ready", consumer_id=consumer_id)
    return Batch(consumer_id, found, frontier, head, head - frontier + waiting, dead, following)


def acknowledge(tx: Tx, inbox_id: int, handles: Sequence[Handle]) -> list[HandleResult]:
    """Settle each; again `ok` for what is settled already."""
    return _settle(tx, inbox_id, handles, lambda rows: tx.many("delete_delivery", [_key(*row) for row in rows]))


def put_back(
    tx: Tx,
    inbox_id: int,
    handles: Sequence[Handle],
    *,
    delay_s: float,
    reason: str | None,
    attempts: int,
    counted: bool,
) -> list[HandleResult]:
    """nack. `counted` False gives the attempt back: the worker stopped, it did not fail."""

    def act(rows: list[tuple[int, Sequence[Any]]]) -> None:
        spent = [(c, row[0], row[1], row[2], row[4], reason) for c, row in rows if counted and row[2] >= attempts]
        bury(tx, spent)
        gone = {(item[0], item[1]) for item in spent}
        tx.many(
            "postpone_delivery",
            [
                {
                    "consumer_id": c, "seq": row[0], "ready_at": tx.now + delay_s, "leased": False,
                    "attempts": row[2] if counted else row[2] - 1, "reason": reason,
                }
                for c, row in rows if (c, row[0]) not in gone
            ],
        )  # fmt: skip

    return _settle(tx, inbox_id, handles, act, nothing_settled=True)


def extend(tx: Tx, inbox_id: int, handles: Sequence[Handle], lease_s: float) -> list[HandleResult]:
    """A new lease time from now; 0 gives the message back with its attempt counted."""
    ready_at = tx.now + lease_s

    def act(rows: list[tuple[int, Sequence[Any]]]) -> None:
        tx.many(
            "postpone_delivery",
            [
                {**_key(c, row), "ready_at": ready_at, "leased": True, "attempts": row[2], "reason": None}
                for c, row in rows
            ],
        )

    return _settle(tx, inbox_id, handles, act, nothing_settled=True)


def _key(consumer_id: int, row: Sequence[Any]) -> dict[str, Any]:
    return {"consumer_id": consumer_id, "seq": row[0]}


def _settle(
    tx: Tx, inbox_id: int, handles: Sequence[Handle], act: Any, *, nothing_settled: bool = False
) -> list[HandleResult]:
    """`act` on each delivery that its handle still holds; what became of the others is said.

    `nothing_settled`: a message that is settled can't be put back or extended: `expired`.
    """
    results: dict[Handle, HandleResult] = {}
    held: list[tuple[int, Sequence[Any]]] = []
    for consumer_id in sorted({handle.consumer_id for handle in handles}):
        own = [handle for handle in handles if handle.consumer_id == consumer_id]
        row = tx.one("lock_consumer_by_id", consumer_id=consumer_id)
        if row is None or row[0] != inbox_id:
            results |= dict.fromkeys(own, HandleResult.unknown)
            continue
        seqs = sorted({handle.seq for handle in own})
        rows = {found[0]: found for found in tx.all("deliveries_among", consumer_id=consumer_id, seqs=seqs)}
        dead = (
            {found[0] for found in tx.all("dead_among", consumer_id=consumer_id, seqs=seqs)}
            if len(rows) < len(seqs)
            else set()
        )
        for handle in own:
            found = rows.get(handle.seq)
            if found and found[1] == handle.lease and found[3]:
                results[handle] = HandleResult.ok
                if (consumer_id, found) not in held:
                    held.append((consumer_id, found))
            else:
                settled = not found and handle.seq not in dead and handle.seq <= row[1] and not nothing_settled
                results[handle] = HandleResult.ok if settled else HandleResult.expired
    if held:
        act(held)
    return [results[handle] for handle in handles]


def redrive(tx: Tx, dead: Sequence[tuple[int, int, int, float]]) -> int:
    """Dead letters (consumer, seq, lease, first received) -> ready again, their attempts counted anew."""
    rows = [
        {
            "consumer_id": consumer, "seq": seq, "lease": lease, "attempts": 0, "ready_at": tx.now,
            "first_received_at": first, "leased": False, "worker": None, "attempt_id": None,
        }
        for consumer, seq, lease, first in dead
    ]  # fmt: skip
    tx.many("put_delivery", rows)
    tx.many("delete_dead_letter", [{"consumer_id": row["consumer_id"], "seq": row["seq"]} for row in rows])
    return len(rows)


def discard(tx: Tx, dead: Sequence[tuple[int, int, int, float]]) -> int:
    """Dead letters -> settled: nobody is to see them again, and what follows them may go in its time."""
    tx.many("delete_dead_letter", [{"consumer_id": consumer, "seq": seq} for consumer, seq, _, _ in dead])
    return len(dead)


def seek(tx: Tx, inbox_id: int, name: str, seq: int) -> None:
    """Make the consumer's next new message the one after `seq`. All leases end; later dead letters are ready again."""
    consumer_id, _, _ = _consumer(tx, inbox_id, name)
    _, head, oldest = tx.one("head", inbox_id=inbox_id) or ("", 0, 1)
    if seq < oldest - 1:
        raise TooOldError(oldest)
    tx.run("delete_deliveries", consumer_id=consumer_id)
    tx.run("delete_dead_letters_above", consumer_id=consumer_id, seq=min(seq, head))
    tx.run("set_frontier", consumer_id=consumer_id, frontier=min(seq, head))


def bury_spent(tx: Tx, attempts: int, limit: int = 500) -> int:
    """Leases that ran out after the last attempt, of every inbox; `attempts` is for inboxes without their own."""
    found = {row[0] for row in tx.all("deliveries_exhausted", now=tx.now, attempts=attempts, limit=limit)}
    for consumer_id in sorted(found):
        tx.all("lock_consumer_by_id", consumer_id=consumer_id)
    # One that was acknowledged before the lock is no dead letter.
    rows = tx.all("deliveries_exhausted", now=tx.now, attempts=attempts, limit=limit) if found else []
    spent = [row for row in rows if row[0] in found]
    bury(tx, [(*row[:5], row[5] or RAN_OUT) for row in spent])
    return len(spent)
