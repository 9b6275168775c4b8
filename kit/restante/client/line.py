"""The push side: one thread with a loop of its own, so that a long tool call in the agent neither kills the connection nor hides
its death. It chooses a channel, holds it, replaces it, and tries again; it never receives or acknowledges mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading

from restante.client.channels import EndedError, PathRefusedError, stopped
from restante.client.connection import TURN_S, Connection, boottime, connect
from restante.client.errors import MailboxError, RefusedError, UnavailableError
from restante.client.figures import Figures
from restante.client.http import Http
from restante.client.settings import Settings
from restante.client.subscription import Subscription
from restante.protocol.backoff import HEALTHY_S, Backoff
from restante.protocol.codes import Verdict
from restante.protocol.ladder import Ladder, Rung

log = logging.getLogger("restante.client")
GOODBYE_S = 5.0


class Line:
    """`up` while a channel is subscribed; `failure` when it stopped for good; `turned_at` (boottime) shows that its loop turns."""

    def __init__(self, http: Http, settings: Settings, subscription: Subscription, figures: Figures) -> None:
        self._http, self._settings, self._subscription, self._figures = http, settings, subscription, figures
        self._ladder, self._backoff = Ladder(random.random), Backoff(random.random)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._goodbyes: set[asyncio.Task[None]] = set()
        self.up = False
        self.failure: MailboxError | None = None
        self.turned_at = boottime()

    def start(self) -> None:
        if self._thread is None and self._settings.push:
            self.turned_at = boottime()
            self._thread = threading.Thread(target=self._main, name="restante-line", daemon=True)
            self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        thread = self._thread  # of its own: a mailbox may be closed by two threads at once
        if thread and self._loop and self._task:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
            thread.join(GOODBYE_S + 1)
        self._thread = None

    def _main(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            while True:
                rung = self._ladder.choose(boottime())
                if rung is Rung.poll:
                    self._figures.channel = rung.name
                    await self._sleep(self._ladder.climb_at - boottime())
                else:
                    await self._try(rung)
        except MailboxError as error:
            self.failure = error
            log.error("no signals any more: %s", error)
        finally:
            self._subscription.news.set()
            if self._goodbyes:
                await asyncio.wait(self._goodbyes, timeout=GOODBYE_S)

    async def _try(self, rung: Rung) -> None:
        """A connection and those that replace it, until the last is cut; then the wait before the next."""
        lived, spread = 0.0, 0.0
        try:
            connection = await self._open(rung)
            spread = connection.spread_s
            lived = await self._hold(connection)
        except PathRefusedError as error:
            log.info("%s; another channel is tried", error)
            self._figures.reconnects["refused"] += 1
            self._ladder.refused(rung, boottime())
            return
        except (UnavailableError, TimeoutError, EndedError) as error:
            log.info("no %s: %s", rung.name, error)
            self._figures.reconnects["unreachable"] += 1
        self._backoff.lived(lived)
        works = lived >= HEALTHY_S or await asyncio.to_thread(self._http_works)
        self._ladder.ended(rung, lived, boottime(), http_works=works)
        await self._sleep(self._backoff.delay_s(spread))

    async def _open(self, rung: Rung) -> Connection:
        return await connect(rung, self._http, self._settings, self._subscription, self._figures)

    async def _successor(self, rung: Rung, after_s: float) -> Connection:
        await asyncio.sleep(after_s)
        return await self._open(rung)

    async def _hold(self, connection: Connection) -> float:
        """Until it is lost, moving on where that is asked for. Seconds that the line stood."""
        begun, rung = boottime(), connection.channel.rung
        successor: asyncio.Task[Connection] | None = None
        self._stands(connection)
        try:
            while True:
                self.turned_at = boottime()
                if self.turned_at - begun >= HEALTHY_S:
                    self._ladder.held(rung, self.turned_at)
                wanted = await connection.turn(successor)
                if wanted is not None and successor is None:
                    successor = asyncio.ensure_future(self._successor(rung, wanted))
                elif successor is not None and successor.done():
                    connection, successor = self._replaced(connection, successor), None
        except EndedError as error:
            self._ended(connection, error.cause)
            if error.verdict is Verdict.stop:
                raise stopped(error) from None
            if error.verdict is Verdict.afresh:
                self._subscription.afresh()
            return boottime() - begun
        finally:
            self.up = False
            self._subscription.news.set()  # whoever waits goes on by polling
            if successor:
                successor.cancel()
            self._leave(connection)

    def _replaced(self, connection: Connection, successor: asyncio.Task[Connection]) -> Connection:
        """The successor, when it could be opened; else the old one, until it is cut."""
        error = successor.exception()
        if error is None:
            self._ended(connection, "rotated")
            self._leave(connection)
            self._stands(successor.result())
            return successor.result()
        if not isinstance(error, MailboxError | EndedError | PathRefusedError | TimeoutError):
            raise error
        log.info("no other connection before leaving this one: %s", error)
        return connection

    def _stands(self, connection: Connection) -> None:
        self._figures.channel, self.up = connection.channel.rung.name, True
        self._figures.heartbeat_at = connection.opened_at  # it was answered just now
        self._subscription.news.set()  # what came while nobody listened

    def _ended(self, connection: Connection, cause: str) -> None:
        self._figures.reconnects[cause] += 1
        self._figures.between_reconnects_s = connection.lived_s
        if cause == "silent":
            self._http.forget()

    def _leave(self, connection: Connection) -> None:
        task = asyncio.ensure_future(connection.leave())
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    def _http_works(self) -> bool:
        try:
            self._http.call("GET", self._settings.path)
        except UnavailableError:
            return False
        except RefusedError:
            return True
        return True

    async def _sleep(self, seconds: float) -> None:
        end = boottime() + seconds
        while (left := end - boottime()) > 0:
            self.turned_at = boottime()
            await asyncio.sleep(min(left, TURN_S))
