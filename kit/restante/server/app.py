"""The post office as one process: start, ready, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from restante import systemd
from restante.errors import InputError, RestanteError
from restante.protocol.heartbeat import Timing
from restante.server.alerts import Watch
from restante.server.api.app import Marked, application
from restante.server.api.context import ADMIN, EDGE, REMEMBERED_S, Post
from restante.server.handles import Signer
from restante.server.lmtp.server import LmtpServer
from restante.server.metrics import Metrics
from restante.server.push.hub import Hub
from restante.server.push.webhook import Dispatcher
from restante.server.push.websocket import ABORT, WRITABLE, Sessions
from restante.server.recipients import Recipients
from restante.server.settings import Settings
from restante.server.store.base import Arrival, ConflictError, InboxDraft, StoreError, Verdict
from restante.server.store.retention import Policy
from restante.server.store.sqlite import SqliteStore
from restante.server.store.store import Store
from restante.server.tls import Shown

log = logging.getLogger("restante")
RETRY_S = 2.0
SWEEP_S = 15.0
RETENTION_S = 300.0
RENEWED_S = 60.0
ALERT_S = 30.0
REQUESTS_S = 5  # for requests in progress, when the server stops
FIRST_REQUEST_S = 1.0  # for the first bytes of who was accepted just before
FLUSH_PAUSE_S = 5.0  # one mail that the store never takes must not make Postfix try its whole queue every second
MTA_KEEPS = {Verdict.unavailable, Verdict.no_space}


def open_store(settings: Settings) -> Store:
    """The engine that the settings name, not started."""
    inboxes = settings.inboxes
    policy = Policy(inboxes.retention_s, inboxes.quota_bytes, inboxes.hop_retention_s)
    if settings.store.engine == "sqlite":
        return SqliteStore(settings.store_path, policy, settings.store.free_space_floor)
    from restante.server.store.postgres import PostgresStore

    url = settings.store.url or _secret(settings.store.url_file) or ""
    return PostgresStore(url, policy, _secret(settings.store.password_file), settings.store.free_space_floor)


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    return (Path(os.environ.get("CREDENTIALS_DIRECTORY", "/")) / path).read_text().strip()


class PostOffice:
    """`sockets`: listening ones by name: http, edge (by TLS), admin, lmtp, and smtp for machines without Postfix."""

    def __init__(self, settings: Settings, sockets: dict[str, list[socket.socket]]) -> None:
        self.settings, self.sockets = settings, sockets
        beat = settings.heartbeat
        timing = Timing(beat.interval_s, beat.pong_timeout_s, beat.misses, beat.server_silence_s)
        store = open_store(settings)
        hub = Hub(store)
        sessions = Sessions(timing, settings.socket.max_age_s, settings.socket.reconnect_spread_s)
        metrics, hooks = Metrics(), settings.webhooks
        dispatcher = Dispatcher(store, hub, metrics, hooks.allow, https_only=hooks.https_only)
        self.post = Post(settings, store, hub, sessions, metrics, Signer(b""), dispatcher)
        self._http: list[uvicorn.Server] = []
        self._serving: list[asyncio.Task[None]] = []
        self._shown = _shown(settings) if sockets.get("edge") else None
        self._moving: asyncio.Future[None] | None = None
        self._mail: list[LmtpServer] = []
        self._stop = asyncio.Event()
        self._map = Recipients(settings.postfix.recipients) if settings.postfix.recipients else None
        self._away = False  # the store could not take mail, so some may wait in Postfix's queue
        self._flushed_at = -FLUSH_PAUSE_S

    async def run(self) -> None:
        """Serve until `stop`, then drain."""
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        try:
            if self._map:
                await asyncio.to_thread(self._map.begin)
            await self._start_store()
            if self._stop.is_set():
                return
            self._serving = [loop.create_task(each) for each in self._serve()]
            tasks = [*self._serving, *(loop.create_task(each) for each in self._beside())]
            await self._listening()
            self.post.ready = True
            systemd.notify("READY=1\nSTATUS=serving")
            await self._until_stopped(tasks)
            systemd.notify("STOPPING=1")
            await self._drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(StoreError, AttributeError):
                await self.post.store.close()

    async def _until_stopped(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Or until a part ends that nobody would miss: then the whole ends with its error, and systemd starts it anew."""
        stopped = asyncio.ensure_future(self._stop.wait())
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        for task in done - {stopped}:
            await task
            raise RuntimeError(f"{task.get_coro()!r} ended before it was to stop")

    def stop(self) -> None:
        self._stop.set()

    def move(self) -> None:
        """What is in front of us will cut its old sockets soon: whoever has one is asked to open another first."""
        self._moving = asyncio.ensure_future(self.post.move("edge"))

    async def _start_store(self) -> None:
        """A store that is away keeps the server waiting, not failing: Postfix keeps the mail."""
        store = self.post.store
        while not await self._opened():
            self._away = True
            # An outage of the store is no failure of this service: systemd must not restart it for that.
            systemd.notify("READY=1\nWATCHDOG=1\nSTATUS=waiting for the store")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), RETRY_S)
                return
        store.on_heads = self.post.hub.moved
        self.post.signer = Signer(await store.handle_key())
        kept = await store.read(lambda tx: tx.one("meta", key="clock"))
        store.clock.not_before(float(kept[0]) if kept else 0.0)

    async def _opened(self) -> bool:
        store = self.post.store
        try:
            await store.start()
            for address in self.settings.inboxes.predefined:
                with contextlib.suppress(ConflictError):
                    await store.create_inbox(InboxDraft(address))
        except StoreError as error:
            log.warning("waiting for the store: %s", error)
            return False
        return True

    def _serve(self) -> list[Coroutine[Any, Any, None]]:
        app = application(self.post)
        apps = {"http": app, "edge": Marked(app, EDGE), "admin": Marked(app, ADMIN)}
        made = {
            name: _server(each, self.settings, self._shown if name == "edge" else None)
            for name, each in apps.items()
            if self.sockets.get(name)
        }
        self._http = list(made.values())
        return [server.serve(sockets=self.sockets[name]) for name, server in made.items()]

    def _beside(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on while requests are answered."""
        return [
            self.post.hub.poll(), self.post.dispatcher.run(), self.post.sessions.watch(), self._every(SWEEP_S, self._sweep),
            self._every(REMEMBERED_S, self.post.look_for_revoked),
            self._every(1.0, self._recipients), self._every(RETENTION_S, self._retain), self._every(ALERT_S, self._watch().look),
            *([self._every(RENEWED_S, self._renewed)] if self._shown else []),
            *([self._watchdog(interval)] if (interval := systemd.watchdog_interval_s()) else []),
        ]  # fmt: skip

    async def _listening(self) -> None:
        while not all(server.started for server in self._http):
            await asyncio.sleep(0.01)
        for name in ("lmtp", "smtp"):
            for sock in self.sockets.get(name, ()):
                server = LmtpServer(
                    self._deliver,
                    host=self.settings.server.host,
                    size_limit=self.settings.inboxes.message_bytes,
                    smtp=name == "smtp",
                )
                await server.start(sock)
                self._mail.append(server)

    async def _deliver(self, arrival: Arrival) -> list[Verdict]:
        with self.post.metrics.commit.time():
            verdicts = await self.post.store.ingest(arrival)
        self._away = self._away or not MTA_KEEPS.isdisjoint(verdicts)
        for verdict in verdicts:
            self.post.metrics.arrivals.labels(verdict).inc()
        return verdicts

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
            except RestanteError as error:
                log.warning("%s: %s", work.__name__.strip("_"), error)
            except Exception:
                log.exception("%s failed", work.__name__)
            await asyncio.sleep(seconds)

    async def _sweep(self) -> None:
        """What no request does by itself."""
        post = self.post
        buried = await post.store.bury_spent(self.settings.inboxes.attempts)
        if buried:
            log.warning("%s messages became dead letters", buried)
        used, post.used = post.used, {}
        if used:
            await post.store.use_tokens(used)
        now = post.store.clock.now()
        await post.store.write(lambda tx: tx.run("set_meta", key="clock", value=repr(now)))

    async def _recipients(self) -> None:
        if self._map is None:
            return
        try:
            rows = await self.post.store.recipients()
        except StoreError:
            self._away = True
            raise
        free = await self.post.store.free_space()
        full = free is not None and free.bytes < self.settings.store.free_space_floor
        await asyncio.to_thread(self._map.update, rows, self.settings.inboxes.quota_bytes, full=full)
        self._away = self._away or full
        now = asyncio.get_running_loop().time()
        if self._away and not full and now >= self._flushed_at + FLUSH_PAUSE_S:
            self._away, self._flushed_at = False, now
            (self.settings.server.data / "flush").touch()  # a unit watches it: Postfix delivers what waits at once

    async def _renewed(self) -> None:
        if self._shown and self._shown.look():
            log.info("edges are shown a renewed certificate")

    async def _retain(self) -> None:
        if removed := await self.post.store.retain():
            log.info("retention removed %s messages", removed)

    def _watch(self) -> Watch:
        return Watch(self.post, self.settings.store.free_space_floor, self.settings.alert.command)

    async def _watchdog(self, interval_s: float) -> None:
        """Withheld when the loop stalls; a store that is away is no reason to be killed."""
        while True:
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(interval_s)

    async def _drain(self) -> None:
        """Sockets are asked to move while mail comes in as ever; then mail in progress is finished; then requests end."""
        limit = self.settings.socket.drain_s
        await self.post.sessions.drain(limit)
        self.post.hub.drain()
        await asyncio.gather(*(server.drain(limit) for server in self._mail))
        for server in self._http:
            server.should_exit = True
        await asyncio.wait(self._serving, timeout=FIRST_REQUEST_S + REQUESTS_S + 1)


class _Socket(WebSocketsSansIOProtocol):
    """It can be dropped: a client that reads nothing would be waited for, with all that was sent to it, for ever."""

    async def run_asgi(self) -> None:
        scope = cast("dict[str, Any]", self.scope)
        scope[ABORT], scope[WRITABLE] = self.transport.abort, self.writable
        await super().run_asgi()


class _Server(uvicorn.Server):
    """Signals are the post office's, which drains before it stops."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn closes, unanswered, who was accepted and has not been heard yet: such are heard first."""
        for server in self.servers:
            server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_REQUEST_S):
                await asyncio.sleep(0.01)  # what has already come is read
                while any(getattr(each, "cycle", each) is None for each in self.server_state.connections):
                    await asyncio.sleep(0.01)
        await super().shutdown(sockets)


def _shown(settings: Settings) -> Shown:
    if not (settings.http.certificate and settings.http.key):
        raise InputError("a socket for edges was passed on, and [http] names no certificate and key to show them")
    return Shown(settings.http.certificate, settings.http.key)


def _server(app: Any, settings: Settings, shown: Shown | None) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app, ws=_Socket, ws_ping_interval=None, ws_per_message_deflate=False, ws_max_size=64 << 10, lifespan="off",
            # Its own lines would show what stands in a socket's query.
            log_config=None, log_level="warning", access_log=False,
            timeout_keep_alive=settings.http.keepalive_timeout_s, proxy_headers=False,
            ssl_context_factory=(lambda *_: shown.context) if shown else None,
            server_header=False, timeout_graceful_shutdown=REQUESTS_S, h11_max_incomplete_event_size=64 << 10, backlog=4096,
        )
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(settings: Settings, sockets: dict[str, list[socket.socket]]) -> AsyncIterator[PostOffice]:
    """A post office inside another program, as `restante up` and tests have it."""
    office = PostOffice(settings, sockets)
    task = asyncio.get_running_loop().create_task(office.run())
    try:
        while not office.post.ready and not task.done():
            await asyncio.sleep(0.01)
        if task.done():
            await task
        yield office
    finally:
        office.stop()
        await task
