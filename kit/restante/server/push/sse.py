"""Signals as server-sent events: the same positions, for clients that can't have a WebSocket."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from restante.protocol.position import Cursor
from restante.server.metrics import Metrics
from restante.server.push.hub import Hub
from restante.server.push.websocket import PAGE, REPLAY_LIMIT, Stream, signal
from restante.server.store.base import Inbox, StoreError, TooOldError
from restante.server.store.store import Store


def _event(data: dict[str, Any], name: str | None = None, number: str | None = None) -> bytes:
    head = (f"event: {name}\n" if name else "") + (f"id: {number}\n" if number else "")
    return f"{head}data: {orjson.dumps(data).decode()}\n\n".encode()


async def events(
    inbox: Inbox, cursor: Cursor | None, store: Store, hub: Hub, metrics: Metrics, interval_s: float,
    valid: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:  # fmt: skip
    """Until the client goes, the server drains, or the token is not `valid` any more, which is asked at each heartbeat.

    First bytes at once; a heartbeat without an id every `interval_s`.
    """
    yield f"retry: {random.randint(1000, 3000)}\n\n".encode()  # noqa: S311 - clients must not come back in step
    with hub.waiter(inbox.id) as waiter:
        epoch, head, oldest = await hub.look(inbox.id)
        stream = Stream(inbox.address, epoch, head)
        reason = _lost(cursor, epoch, head, oldest)
        if reason:
            position = {"reason": reason, "head": str(Cursor(epoch, head)), "oldest": str(Cursor(epoch, oldest))}
            yield _event(position, "reset", str(Cursor(epoch, head)))
        elif cursor:
            stream.sent = min(cursor.seq, head)
        beat = time.monotonic() + interval_s
        while not hub.draining.is_set():
            async for chunk in _signals(stream, inbox.id, store, metrics):
                yield chunk
            if not await waiter.wait(beat - time.monotonic()):
                if not await valid():
                    return
                known = hub.known_head(inbox.id)
                epoch, head = known or (stream.epoch, stream.sent)
                if epoch != stream.epoch:
                    yield _event(
                        {"reason": "epoch_changed", "head": str(Cursor(epoch, head))}, "reset", str(Cursor(epoch, head))
                    )
                    stream.epoch, stream.sent = epoch, head
                yield _event({"epoch": epoch, "head": str(Cursor(epoch, head)), "stale": known is None}, "heartbeat")
                beat += interval_s


def _lost(cursor: Cursor | None, epoch: str, head: int, oldest: int) -> str | None:
    if cursor is None:
        return None
    if cursor.epoch != epoch:
        return "epoch_changed"
    if cursor.seq < oldest - 1:
        return "too_old"
    return "too_many" if head - cursor.seq > REPLAY_LIMIT else None


async def _signals(stream: Stream, inbox_id: int, store: Store, metrics: Metrics) -> AsyncIterator[bytes]:
    while True:
        try:
            found = store.recent.after(inbox_id, stream.sent, PAGE) or await store.messages(inbox_id, stream.sent, PAGE)
        except TooOldError as error:
            stream.sent = error.oldest - 1
            continue
        except StoreError:
            await asyncio.sleep(1)
            return
        for each in found:
            data = signal(stream, each)
            yield _event(data, "signal", data["cursor"])
            metrics.signals.labels("sse").inc()
            stream.sent = each.seq
        if len(found) < PAGE:
            return
