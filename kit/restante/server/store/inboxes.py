"""Inboxes and their consumers."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from restante.server.store.base import (
    DEFAULT_CONSUMER,
    ConflictError,
    Consumer,
    Inbox,
    InboxDraft,
    NotFoundError,
    TooOldError,
)
from restante.server.store.ingest import canonical
from restante.server.store.tx import Row, Tx, value

_RETIRED = "retired_inbox"  # meta: the highest id of an inbox that was deleted


def new_epoch() -> str:
    """Names a history: it changes only when that was rewritten."""
    return secrets.token_hex(4)


def _inbox(row: Row) -> Inbox:
    columns = list(row)
    columns[4] = json.loads(row[4])
    return Inbox(*columns)


def get(tx: Tx, address: str) -> Inbox:
    if row := tx.one("inbox_by_address", address=canonical(address)):
        return _inbox(row)
    raise NotFoundError(f"there is no inbox {address}")


def page(tx: Tx, after: int, limit: int) -> list[Inbox]:
    return [_inbox(row) for row in tx.all("inbox_page", after=after, limit=limit)]


def create(tx: Tx, draft: InboxDraft) -> tuple[Inbox, bool]:
    """The inbox, and whether it is new: the same `client_id` again gives the one that is there."""
    address = canonical(draft.address)
    if draft.client_id and (row := tx.one("inbox_by_client_id", client_id=draft.client_id)):
        found = _inbox(row)
        if found.address != address:
            raise ConflictError(f"the client_id {draft.client_id!r} belongs to {found.address}")
        return found, False
    if tx.one("inbox_by_address", address=address):
        raise ConflictError(f"there is an inbox {address} already")
    inbox_id = _next_id(tx)
    tx.run(
        "insert_inbox", id=inbox_id, address=address, display_name=draft.display_name, client_id=draft.client_id,
        metadata=json.dumps(dict(draft.metadata)), epoch=new_epoch(), lease_s=draft.lease_s, attempts=draft.attempts,
        retention_s=draft.retention_s, quota_bytes=draft.quota_bytes, now=tx.now,
    )  # fmt: skip
    _insert_consumer(tx, inbox_id, DEFAULT_CONSUMER, 0)
    return get(tx, address), True


def _next_id(tx: Tx) -> int:
    """Never one that an inbox had before: ids of messages begin with it."""
    retired = int((tx.one("meta", key=_RETIRED) or ("0",))[0])
    return int(value(tx, "next_inbox", retired=retired))


def _insert_consumer(tx: Tx, inbox_id: int, name: str, frontier: int) -> None:
    """Its leases count on from the clock's microseconds: a handle of a consumer of that name before it opens nothing."""
    tx.one("insert_consumer", inbox_id=inbox_id, name=name, frontier=frontier, leases=int(tx.now * 1e6), now=tx.now)


def update(tx: Tx, address: str, changes: Mapping[str, Any]) -> Inbox:
    """`changes`: display_name, metadata, lease_s, attempts, retention_s, quota_bytes; what is absent stays."""
    inbox = get(tx, address)
    names = ("display_name", "lease_s", "attempts", "retention_s", "quota_bytes")
    fields = {name: changes.get(name, getattr(inbox, name)) for name in names}
    metadata = json.dumps(dict(changes.get("metadata", inbox.metadata)))
    tx.run("update_inbox", inbox_id=inbox.id, metadata=metadata, **fields)
    return get(tx, address)


def delete(tx: Tx, address: str, *, force: bool) -> int:
    """Raises ConflictError for unacknowledged mail, unless `force`. Returns how many messages went unacknowledged."""
    inbox = get(tx, address)
    # What another server puts in, or hands out, from here on waits for us; what it did before is seen below.
    tx.all("lock_inbox", inbox_id=inbox.id)
    tx.all("lock_consumers", inbox_id=inbox.id)
    inbox = get(tx, address)
    waiting = sum(
        inbox.head - each.frontier + each.in_flight + each.ready + each.dead for each in consumers(tx, address)
    )
    if waiting and not force:
        raise ConflictError(f"{address} holds {waiting} unacknowledged messages; force=true deletes them too")
    bodies = [row[0] for row in tx.all("inbox_bodies", inbox_id=inbox.id)]
    for statement in (
        "delete_inbox_deliveries", "delete_inbox_dead_letters", "delete_inbox_consumers", "delete_inbox_settled",
        "delete_inbox_webhook_deliveries", "delete_inbox_webhook_positions", "delete_inbox_messages", "delete_inbox",
    ):  # fmt: skip
        tx.run(statement, inbox_id=inbox.id)
    tx.run("delete_unused_bodies", ids=bodies)
    retired = int((tx.one("meta", key=_RETIRED) or ("0",))[0])
    tx.run("set_meta", key=_RETIRED, value=str(max(retired, inbox.id)))
    return waiting


def consumers(tx: Tx, address: str) -> list[Consumer]:
    inbox = get(tx, address)
    return [_consumer(tx, inbox.id, row) for row in tx.all("consumers", inbox_id=inbox.id, now=tx.now)]


def _consumer(tx: Tx, inbox_id: int, row: Row) -> Consumer:
    consumer_id, name, frontier, head, _, first, first_dead, in_flight, ready, dead, seen = row
    low = [seq for seq in (first, first_dead) if seq]
    oldest = first or (frontier + 1 if frontier < head else None)
    at = tx.one("received_at", inbox_id=inbox_id, seq=oldest) if oldest else None
    return Consumer(
        consumer_id, name, frontier, min(low) - 1 if low else frontier, in_flight, ready, dead, at[0] if at else None, seen
    )  # fmt: skip


def create_consumer(tx: Tx, address: str, name: str, start: str | int) -> Consumer:
    """`start`: earliest (all that is kept), now, or the number after which it begins."""
    tx.all("lock_inbox", inbox_id=get(tx, address).id)  # retention waits, and what it removed before is seen
    inbox = get(tx, address)
    if any(each.name == name for each in consumers(tx, address)):
        raise ConflictError(f"{address} has a consumer {name} already")
    frontier = {"earliest": inbox.oldest - 1, "now": inbox.head}.get(str(start), start)
    if int(frontier) < inbox.oldest - 1:
        raise TooOldError(inbox.oldest)
    _insert_consumer(tx, inbox.id, name, min(int(frontier), inbox.head))
    return consumer(tx, address, name)


def consumer(tx: Tx, address: str, name: str) -> Consumer:
    for each in consumers(tx, address):
        if each.name == name:
            return each
    raise NotFoundError(f"{address} has no consumer {name}")


def delete_consumer(tx: Tx, address: str, name: str) -> None:
    if name == DEFAULT_CONSUMER:
        raise ConflictError("the consumer 'default' stays as long as its inbox")
    found = consumer(tx, address, name)
    tx.all("lock_consumer_by_id", consumer_id=found.id)
    tx.run("delete_deliveries", consumer_id=found.id)
    tx.run("delete_dead_letters", consumer_id=found.id)
    tx.run("delete_consumer", consumer_id=found.id)
