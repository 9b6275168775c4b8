"""How stored things look on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from restante.protocol.position import Cursor
from restante.server.api.context import ApiError
from restante.server.handles import message_id
from restante.server.mail.scan import LARGE
from restante.server.mail.view import view
from restante.server.settings import Settings
from restante.server.store.base import Consumer, DeadLetter, Inbox, Summary, Token

T = TypeVar("T")


async def beside(size: int, work: Callable[[], T]) -> T:
    """`work` that parses so many bytes of mail: in a thread when it could hold up heartbeats."""
    return await asyncio.to_thread(work) if size > LARGE else work()


def inbox(found: Inbox, settings: Settings) -> dict[str, Any]:
    username, _, domain = found.address.partition("@")
    default = settings.inboxes
    return {
        "inbox_id": found.address, "username": username, "domain": domain, "display_name": found.display_name,
        "client_id": found.client_id, "metadata": dict(found.metadata), "epoch": found.epoch,
        "head": str(Cursor(found.epoch, found.head)), "oldest": str(Cursor(found.epoch, found.oldest)),
        "used_bytes": found.used_bytes, "lease_s": found.lease_s or default.lease_s,
        "attempts": found.attempts or default.attempts,
        "retention_s": default.retention_s if found.retention_s is None else found.retention_s,
        "quota_bytes": default.quota_bytes if found.quota_bytes is None else found.quota_bytes,
        "created_at": found.created_at,
    }  # fmt: skip


def summary(found: Summary, owner: Inbox) -> dict[str, Any]:
    first = found.duplicate_of
    return {
        "id": message_id(found.inbox_id, found.seq, found.received_at),
        "cursor": str(Cursor(owner.epoch, found.seq)), "inbox_id": owner.address,
        "message_id": found.message_id, "from": {"name": None, "address": found.sender} if found.sender else None,
        "subject": found.subject, "size": found.size, "received_at": found.received_at, "envelope_from": found.envelope_from,
        "delivered_to": found.delivered_to, "automated": bool(found.automated), "authentication": None,
        "duplicate_of": message_id(found.inbox_id, first, found.duplicate_at or 0.0) if first else None,
    }  # fmt: skip


def message(found: Summary, owner: Inbox, raw: bytes) -> dict[str, Any]:
    """All of it: what the mail says, under what the store knows of it."""
    parsed = view(raw)
    references = parsed.get("references") or []
    thread = references[0] if references else parsed.get("in_reply_to") or found.message_id
    shown = summary(found, owner)
    return {
        **shown,
        **{key: value for key, value in parsed.items() if value is not None or key not in shown},
        "thread_id": thread or None,
    }


def consumer(found: Consumer, owner: Inbox) -> dict[str, Any]:
    return {
        "name": found.name, "cursor": str(Cursor(owner.epoch, found.frontier)), "floor": str(Cursor(owner.epoch, found.floor)),
        "in_flight": found.in_flight, "waiting": found.ready, "new": owner.head - found.frontier, "dead_letters": found.dead,
        "oldest_unacknowledged_at": found.oldest_unacknowledged_at, "last_receive_at": found.last_receive_at,
    }  # fmt: skip


def dead_letter(found: DeadLetter, owner: Inbox) -> dict[str, Any]:
    return {
        "message": summary(found.summary, owner), "consumer": found.consumer, "attempts": found.attempts,
        "last_error": found.last_error, "reason": found.reason, "died_at": found.died_at,
    }  # fmt: skip


def token(found: Token) -> dict[str, Any]:
    return {
        "id": found.id, "name": found.name, "admin": found.admin, "scopes": {key: list(value) for key, value in found.scopes.items()},
        "created_at": found.created_at, "last_used_at": found.last_used_at, "revoked_at": found.revoked_at,
    }  # fmt: skip


def position(owner: Inbox, text: str) -> int:
    """earliest, now or a cursor -> the number after which to go on. Raises ApiError."""
    if text in {"earliest", "now"}:
        return owner.oldest - 1 if text == "earliest" else owner.head
    try:
        cursor = Cursor.parse(text)
    except ValueError as error:
        raise ApiError(400, "invalid_cursor", str(error)) from None
    if cursor.epoch != owner.epoch:
        oldest = str(Cursor(owner.epoch, owner.oldest))
        raise ApiError(
            410, "epoch_changed", "history was rewritten since this cursor was given; reconcile", oldest=oldest
        )
    if cursor.seq < owner.oldest - 1:
        oldest = str(Cursor(owner.epoch, owner.oldest))
        raise ApiError(410, "cursor_too_old", "this cursor is older than what is kept", oldest=oldest)
    return cursor.seq
