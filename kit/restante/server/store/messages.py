"""Reading: it never acknowledges, and never waits for a writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from restante.server.store.base import DeadLetter, NotFoundError, Summary, TooOldError
from restante.server.store.tx import Tx

_SUMMARY = len(fields(Summary))


def head(tx: Tx, inbox_id: int) -> tuple[str, int, int]:
    """(epoch, head, oldest)"""
    row = tx.one("head", inbox_id=inbox_id)
    if row is None:
        raise NotFoundError("this inbox was deleted")
    return row[0], row[1], row[2]


def moved(tx: Tx, inbox_ids: Iterable[int], known: Mapping[int, tuple[str, int]]) -> dict[int, tuple[str, int]]:
    """Inbox -> (epoch, head), of those of which something else is known, or nothing."""
    rows = tx.each("heads", ids=sorted(inbox_ids))
    return {row[0]: (row[1], row[2]) for row in rows if known.get(row[0]) != (row[1], row[2])}


def page(tx: Tx, inbox_id: int, after: int, limit: int, upto: int = 2**62) -> list[Summary]:
    """Ascending, after the number `after`. Raises TooOldError when some that followed it are gone."""
    _, newest, oldest = head(tx, inbox_id)
    if after < oldest - 1:
        raise TooOldError(oldest)
    if after >= newest:
        return []
    return [Summary(*row) for row in tx.all("message_page", inbox_id=inbox_id, after=after, upto=upto, limit=limit)]


def first_since(tx: Tx, inbox_id: int, since: float) -> int:
    """The number after which everything was received at `since` or later."""
    row = tx.one("first_since", inbox_id=inbox_id, since=since)
    return row[0] - 1 if row and row[0] else head(tx, inbox_id)[1]


def get(tx: Tx, inbox_id: int, seq: int) -> Summary:
    if row := tx.one("message", inbox_id=inbox_id, seq=seq):
        return Summary(*row)
    raise NotFoundError(
        "there is no such message in this inbox; it may have been acknowledged and its retention be over"
    )


def bodies(tx: Tx, ids: Sequence[int]) -> dict[int, bytes]:
    return {row[0]: row[1] for row in tx.all("bodies", ids=sorted(set(ids)))}


def dead_letters(tx: Tx, inbox_id: int, after: int, limit: int) -> list[DeadLetter]:
    """Of the next `limit` messages that have any, for each consumer to which it is dead."""
    rows = tx.all("dead_letter_page", inbox_id=inbox_id, after=after, limit=limit)
    return [DeadLetter(Summary(*row[:_SUMMARY]), *row[_SUMMARY:]) for row in rows]
