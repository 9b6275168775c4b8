"""One agent's socket. It holds no task of its own beside its reader's: the hub wakes it, and a flush reads the store and sends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from restante.protocol import messages as frames
from restante.protocol.codes import Close
from restante.protocol.heartbeat import Timing
from restante.protocol.messages import FrameError, Ping, Subscribe
from restante.protocol.position import Cursor
from restante.server.handles import message_id
from restante.server.metrics import Metrics
from restante.server.push.hub import Hub
from restante.server.store.base import Inbox, NotFoundError, StoreError, Summary, TooOldError
from restante.server.store.store import Store

REPLAY_LIMIT = 1000  # signals after a reconnect; a client further behind reconciles over HTTP
PAGE = 100
SEND_LIMIT_S = 10.0
FRAMES_PER_S, BURST = 20.0, 100.0

ABORT = "restante.abort"  # in the scope of a socket: drops its connection, and what waits to be sent
WRITABLE = "restante.writable"  # in it too: an event that is set while what is sent need not wait
TRY_AGAIN_LATER = 1013  # RFC 6455's registry

# inbox address -> the inbox, if the token may receive from it
Find = Callable[[str], Awaitable[Inbox]]


@dataclass(slots=True)
class Stream:
    address: str
    epoch: str
    sent: int


def signal(stream: Stream, each: Summary) -> dict[str, Any]:
    cursor = Cursor(stream.epoch, each.seq)
    return {
        "type": "signal", "inbox": stream.address, "epoch": stream.epoch, "cursor": str(cursor),
        "prev": str(Cursor(stream.epoch, each.seq - 1)), "id": message_id(each.inbox_id, each.seq, each.received_at),
        "event": "message.received", "size": each.size, "from": each.sender, "subject": each.subject,
    }  # fmt: skip


class Session:
    """`find` says which inboxes this socket may subscribe to; `valid`, soon and without an error, whether its token still is."""

    __slots__ = (
        "_again", "_away", "_budget", "_find", "_flushing", "_framed_at", "_hub", "_metrics", "_store", "_task", "_valid", "_ws",
        "counters", "heard_at", "name", "opened_at", "peer", "streams", "told",
    )  # fmt: skip

    def __init__(
        self, ws: WebSocket, store: Store, hub: Hub, metrics: Metrics, find: Find, valid: Callable[[], Awaitable[bool]]
    ) -> None:
        self._ws, self._store, self._hub, self._metrics, self._find, self._valid = ws, store, hub, metrics, find, valid
        self.name = secrets.token_hex(6)
        self.streams: dict[int, Stream] = {}
        self.counters: dict[str, float] = {}
        self.peer = ws.client.host if ws.client else ""
        self.opened_at = self.heard_at = self._framed_at = time.monotonic()
        self.told = self._away = False
        self._budget = BURST
        self._flushing = self._again = False
        self._task: asyncio.Task[None] | None = None

    async def run(self, timing: Timing, max_age_s: int, spread_s: int) -> None:
        """Until either side ends it."""
        self._metrics.opens.inc()
        try:
            await self._send(frames.hello(self.name, timing, max_age_s, spread_s))
            while True:
                await self._frame(await self._ws.receive_text())
        except KeyError:  # a binary frame has no text
            await self.close(Close.PROTOCOL, "frames are text")
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            pass  # it is closed: by the client, by a flush, or because nobody reads
        except FrameError as error:
            await self.close(Close.PROTOCOL, str(error))
        finally:
            for inbox_id in self.streams:
                self._hub.remove(inbox_id, self)
            if self._task:
                self._task.cancel()

    async def _frame(self, text: str) -> None:
        now = time.monotonic()
        self._budget = min(BURST, self._budget + (now - self._framed_at) * FRAMES_PER_S) - 1
        self._framed_at = now
        if self._budget < 0:
            await self.close(Close.TOO_MANY_FRAMES, "more frames than any client of the protocol sends")
            return
        frame = frames.from_client(text)
        if not await self._valid():
            await self.close(Close.UNAUTHORIZED, "the token was revoked")
        elif isinstance(frame, Ping):
            self.heard_at = now
            await self._pong(frame)
        else:
            await self._subscribe(frame)

    async def _pong(self, ping: Ping) -> None:
        self.counters = dict(ping.counters)
        heads = {stream.address: self._hub.known_head(inbox_id) for inbox_id, stream in self.streams.items()}
        known = {address: str(Cursor(*head)) for address, head in heads.items() if head}
        await self._send(frames.pong(ping, known if len(known) == len(heads) else None))

    async def _subscribe(self, frame: Subscribe) -> None:
        answers = []
        for address, cursor in frame.streams.items():
            try:
                answers.append(await self._open(await self._find(address), cursor))
            except NotFoundError:
                # The same answer for an inbox that is another's: its existence is nobody's business.
                answers.append(
                    {
                        "inbox": address,
                        "recovered": False,
                        "reason": "not_found",
                        "epoch": None,
                        "head": None,
                        "oldest": None,
                    }
                )
            except StoreError as error:
                await self._send(frames.error(frames.UNAVAILABLE, str(error), temporary=True))
                await self.close(TRY_AGAIN_LATER, "the store is away")
                return
        await self._send(frames.subscribed(answers))
        self._flush_soon()

    async def _open(self, inbox: Inbox, cursor: Cursor | None) -> dict[str, Any]:
        self._hub.add(inbox.id, self)  # before the head is read: what comes in between wakes us
        self.streams[inbox.id] = stream = Stream(inbox.address, "", 0)
        epoch, head, oldest = await self._hub.look(inbox.id)
        reason = None
        if cursor and cursor.epoch != epoch:
            reason = "epoch_changed"
        elif cursor and cursor.seq < oldest - 1:
            reason = "too_old"
        elif cursor and head - cursor.seq > REPLAY_LIMIT:
            reason = "too_many"
        stream.epoch, stream.sent = epoch, min(cursor.seq, head) if cursor and not reason else head
        return {
            "inbox": inbox.address, "epoch": epoch, "recovered": reason is None, "reason": reason,
            "head": str(Cursor(epoch, head)), "oldest": str(Cursor(epoch, oldest)),
        }  # fmt: skip

    def wake(self, inbox_id: int) -> None:
        self._flush_soon()

    def _flush_soon(self) -> None:
        self._again = True
        if not self._flushing:
            self._flushing = True
            self._task = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        try:
            while self._again:
                self._again = False
                for inbox_id, stream in list(self.streams.items()):
                    if stream.epoch:  # else it is being opened, and flushed then
                        await self._signals(inbox_id, stream)
        except StoreError:
            pass  # the next heartbeat shows the head, and the next wake tries again
        except TimeoutError:
            self._metrics.slow.inc()
            await self.close(Close.SLOW, "this client does not read")
        except (WebSocketDisconnect, RuntimeError):
            pass  # its reader ends it
        finally:
            self._flushing, self._task = False, None  # a task that has ended holds 1 KiB for as long as it is known

    async def _signals(self, inbox_id: int, stream: Stream) -> None:
        epoch, head = await self._hub.head(inbox_id)
        if epoch != stream.epoch:
            await self.close(Close.HISTORY_CHANGED, "history was rewritten; reconcile")
            return
        while stream.sent < head:
            try:
                found = self._store.recent.after(inbox_id, stream.sent, PAGE)
                found = found or await self._store.messages(inbox_id, stream.sent, PAGE)
            except TooOldError as error:
                stream.sent = error.oldest - 1
                continue
            for each in found:
                await self._send(signal(stream, each))
                self._metrics.signals.labels("websocket").inc()
                self._metrics.signal_delay.observe(max(0.0, self._store.clock.now() - each.received_at))
                stream.sent = each.seq
            if not found:
                return

    def lost_its_store(self) -> bool:
        """True once each time that the store goes away."""
        before, self._away = self._away, self._hub.store_is_away
        return self._away and not before

    async def warn(self) -> None:
        """Say that the store is away: the agent may ask another server for its mail."""
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            await self._send(
                frames.error(frames.UNAVAILABLE, "the store does not answer at this moment", temporary=True)
            )

    async def move(self, reason: str, spread_s: float, deadline_s: float) -> None:
        """Ask the client to open another socket before this one is closed."""
        self.told = True
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            await self._send(frames.reconnect(reason, int(random.uniform(0, spread_s) * 1000), int(deadline_s * 1000)))  # noqa: S311

    async def _send(self, frame: dict[str, Any]) -> None:
        sending = self._ws.send_text(orjson.dumps(frame).decode())
        if self._ws.scope[WRITABLE].is_set():
            await sending  # a timer for each pong would cost more than the pong
            return
        async with asyncio.timeout(SEND_LIMIT_S):
            await sending

    async def close(self, code: int, reason: str) -> None:
        if self._ws.application_state is WebSocketState.CONNECTED:
            self._metrics.closes.labels(str(int(code))).inc()
            try:
                async with asyncio.timeout(SEND_LIMIT_S):
                    await self._ws.close(code, reason[:120])
            except TimeoutError:
                self._ws.scope[ABORT]()  # the close waits behind what the client does not read
            except (RuntimeError, WebSocketDisconnect):
                pass  # the client was first


MOVE_S = 2.0  # for a socket to be opened elsewhere


class Sessions:
    """All sockets of this process: who fell silent, who is too old, and how all are moved when the server stops."""

    def __init__(self, timing: Timing, max_age_s: int, spread_s: int) -> None:
        self.timing, self.max_age_s, self.spread_s = timing, max_age_s, spread_s
        self.open: set[Session] = set()

    async def serve(self, session: Session) -> None:
        self.open.add(session)
        try:
            await session.run(self.timing, self.max_age_s, self.spread_s)
        finally:
            self.open.discard(session)

    async def watch(self) -> None:
        """For as long as the server runs."""
        while True:
            await asyncio.sleep(min(5.0, self.timing.interval_s / 3))
            now = time.monotonic()
            await asyncio.gather(*(session.warn() for session in self.open if session.lost_its_store()))
            for session in list(self.open):
                if now - session.heard_at > self.timing.server_silence_s:
                    await session.close(Close.SILENT, f"no ping for {self.timing.server_silence_s:.0f} s")
                elif self.max_age_s and now - session.opened_at > 0.9 * self.max_age_s and not session.told:
                    grace = 0.1 * self.max_age_s
                    await session.move("age", min(self.timing.interval_s, grace / 2), grace)
                elif self.max_age_s and now - session.opened_at > self.max_age_s:
                    await session.close(Close.TOO_OLD, "the path would cut this socket soon")

    async def move(self, limit_s: float, reason: str, peer: str | None = None) -> float:
        """`reconnect` to all, or to those that came by `peer`, spread as their reconnects are; how long they have for it."""
        limit_s = min(limit_s, self.spread_s + MOVE_S)
        meant = [session for session in self.open if peer in {None, session.peer}]
        await asyncio.gather(*(session.move(reason, limit_s / 2, limit_s) for session in meant))
        return limit_s

    async def drain(self, limit_s: float) -> None:
        """`reconnect` to all, time to go, then the close: where no other host serves, they come back once this process has ended."""
        end = time.monotonic() + await self.move(limit_s, "drain")
        while self.open and time.monotonic() < end:
            await asyncio.sleep(0.05)
        await asyncio.gather(*(session.close(Close.DRAINING, "the server stops") for session in list(self.open)))
