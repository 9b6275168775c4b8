"""Where signals leave: the WebSocket and the event stream."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, WebSocket
from starlette.responses import Response, StreamingResponse

from restante.protocol.codes import Close
from restante.protocol.messages import SUBPROTOCOL, TICKET_PREFIX
from restante.protocol.position import Cursor
from restante.server.api.context import ApiError, Caller, Post
from restante.server.api.inboxes import post_of
from restante.server.push import sse
from restante.server.push.websocket import TRY_AGAIN_LATER, Session
from restante.server.store.base import Inbox, NotFoundError, StoreError

log = logging.getLogger("restante.http")
router = APIRouter(tags=["signals"])
PATH = "/v1/ws"
STREAM = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}


async def websocket(ws: WebSocket, post: Post) -> None:
    offered = ws.headers.get("sec-websocket-protocol", "").replace(" ", "").split(",")
    protocol = SUBPROTOCOL if SUBPROTOCOL in offered else None
    try:
        caller = await _caller(post, ws, offered)
    except ApiError as error:
        log.info("a socket for %s is refused: %s", _peer(ws), error)
        # Accepted first: a browser and many libraries show nothing of a handshake that was refused.
        await ws.accept(protocol)
        await ws.close(Close.UNAUTHORIZED, str(error)[:120])
        return
    except StoreError:
        await ws.accept(protocol)
        await ws.close(TRY_AGAIN_LATER, "the store is away")
        return
    await ws.accept(protocol)

    async def find(address: str) -> Inbox:
        try:
            return await post.inbox(caller, address, "receive")
        except ApiError as error:
            raise NotFoundError(str(error)) from None

    async def valid() -> bool:
        return await post.stands(caller)

    await post.sessions.serve(Session(ws, post.store, post.hub, post.metrics, find, valid))


def _peer(ws: WebSocket) -> str:
    """As the edge says whom it speaks for, else who connected."""
    return ws.headers.get("x-forwarded-for") or (ws.client.host if ws.client else "this host")


async def _caller(post: Post, ws: WebSocket, offered: list[str]) -> Caller:
    origin = ws.headers.get("origin")
    if origin and origin not in post.settings.http.cors:
        raise ApiError(403, "forbidden", "this origin may not open sockets here; the spec's cors lists those that may")
    tickets = [each.removeprefix(TICKET_PREFIX) for each in offered if each.startswith(TICKET_PREFIX)]
    return await post.redeem(tickets[0]) if tickets else await post.caller(ws)


@router.get("/v1/inboxes/{inbox}/stream", response_class=StreamingResponse)
async def stream(
    request: Request,
    inbox: str,
    last_event_id: Annotated[str | None, Header(max_length=40)] = None,
    last: Annotated[str | None, Query(alias="last_event_id", max_length=40)] = None,
    ticket: Annotated[str | None, Query(max_length=60)] = None,
) -> Response:
    """Server-sent events: signal, heartbeat, reset. `Last-Event-ID` goes on from there."""
    post = post_of(request)
    caller = await post.redeem(ticket) if ticket else await post.caller(request)
    owner = await post.inbox(caller, inbox, "receive")
    try:
        cursor = Cursor.parse(text) if (text := last_event_id or last) else None
    except ValueError as error:
        raise ApiError(400, "invalid_cursor", str(error)) from None

    async def valid() -> bool:
        return await post.stands(caller)

    source: AsyncIterator[bytes] = sse.events(
        owner, cursor, post.store, post.hub, post.metrics, post.settings.heartbeat.interval_s, valid
    )
    return StreamingResponse(source, media_type="text/event-stream", headers=STREAM)
