"""Reading: it never acknowledges."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from restante.protocol.position import Cursor
from restante.server.api import views
from restante.server.api.errors import answer
from restante.server.api.inboxes import post_of
from restante.server.handles import message_id, read_message_id
from restante.server.mail.view import attachment
from restante.server.store.base import Inbox, NotFoundError, Summary

router = APIRouter(tags=["messages"])
# What a mail brings is never run by whoever opens it from here.
HARMLESS = {
    "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip
_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\]')


@router.get("/v1/inboxes/{inbox}/messages")
async def list_messages(
    request: Request,
    inbox: str,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
    since: Annotated[float | None, Query(ge=0, le=1e12)] = None,
    sender: Annotated[str | None, Query(alias="from", max_length=320)] = None,
    subject: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Ascending after `cursor`, or from `since` on. Filters look at one page: follow `next_cursor` until it is null."""
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "read")
    after = (
        await post.store.first_since(owner.id, since)
        if since is not None and cursor is None
        else views.position(owner, cursor or "earliest")
    )
    found = await post.store.messages(owner.id, after, limit)
    following = str(Cursor(owner.epoch, found[-1].seq)) if len(found) == limit else None
    items = [views.summary(each, owner) for each in found if _matches(each, sender, subject)]
    head = await post.store.head(owner.id)
    return answer({"items": items, "next_cursor": following, "head": str(Cursor(owner.epoch, head[1]))})


def _matches(each: Summary, sender: str | None, subject: str | None) -> bool:
    return (not sender or sender.lower() in each.sender.lower()) and (
        not subject or subject.lower() in each.subject.lower()
    )


async def _message(request: Request, inbox: str, number: str) -> tuple[Inbox, Summary, bytes]:
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "read")
    named = read_message_id(number)
    if not named or named[0] != owner.id or named[1] >= 1 << 62:
        raise NotFoundError(f"there is no message {number[:60]} in {owner.address}")
    found = await post.store.message(owner.id, named[1])
    if message_id(owner.id, found.seq, found.received_at) != number:
        raise NotFoundError(
            f"the message {number[:60]} is not in {owner.address} any more: a restore has put another in its place"
        )
    return owner, found, (await post.store.bodies([found.body_id]))[found.body_id]


@router.get("/v1/inboxes/{inbox}/messages/{message}")
async def get_message(request: Request, inbox: str, message: str) -> Response:
    owner, found, raw = await _message(request, inbox, message)
    shown = await views.beside(found.size, lambda: views.message(found, owner, raw))
    return answer(shown, headers=HARMLESS)


@router.get("/v1/inboxes/{inbox}/messages/{message}/raw")
async def get_raw(request: Request, inbox: str, message: str) -> Response:
    """Byte for byte what was sent."""
    _, _, raw = await _message(request, inbox, message)
    return Response(
        raw,
        headers={**HARMLESS, "Content-Disposition": 'attachment; filename="message.eml"'},
        media_type="message/rfc822",
    )


@router.get("/v1/inboxes/{inbox}/messages/{message}/attachments/{attachment_id}")
async def get_attachment(request: Request, inbox: str, message: str, attachment_id: str) -> Response:
    """Always as a download of no particular type: the declared one is in the message."""
    _, summary, raw = await _message(request, inbox, message)
    found = await views.beside(summary.size, lambda: attachment(raw, attachment_id))
    if found is None:
        raise NotFoundError(f"this message has no attachment {attachment_id[:60]}")
    name = _UNSAFE.sub("_", found[1] or "attachment")
    return Response(
        found[2],
        headers={**HARMLESS, "Content-Disposition": f'attachment; filename="{name}"'},
        media_type="application/octet-stream",
    )
