"""One connection while it lives: what is heard is fed, what is due is done, silence is judged."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

from restante.client.channels import Channel, EndedError, StreamChannel, WebSocketChannel, stopped
from restante.client.figures import Figures
from restante.client.http import Http
from restante.client.settings import Settings
from restante.client.subscription import Subscription
from restante.protocol.codes import Verdict
from restante.protocol.heartbeat import Timing
from restante.protocol.ladder import Rung
from restante.protocol.liveness import STALL_S, Action, Dead, Drain, Liveness, Ping, Rotate

TURN_S = 5.0  # the longest wait in one turn, so that a watchdog sees them
SEND_S = 0.5  # a send that blocks longer is a connection that does not move: the pong's limit judges it
DRAIN_S = 0.05


def boottime() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


async def connect(
    rung: Rung, http: Http, settings: Settings, subscription: Subscription, figures: Figures
) -> Connection:
    """Subscribed. Raises PathRefusedError, UnavailableError, TimeoutError, EndedError; MailboxError when it is for good."""
    async with asyncio.timeout(2 * settings.timeout_s):
        if rung is Rung.sse:
            stream = await StreamChannel.open(http, settings, subscription.cursor)
            return Connection(stream, Liveness(Timing(), boottime(), asks=False), subscription, figures)
        channel = await WebSocketChannel.open(http, settings)
        try:
            hello = await _expect(channel, "hello")
            await channel.send(subscription.request())
            subscription.subscribed(await _expect(channel, "subscribed"))
        except BaseException:
            channel.abandon()
            raise
    timing = Timing(
        hello.get("heartbeat_interval_ms", 15_000) / 1000, hello.get("pong_timeout_ms", 5000) / 1000, hello.get("missed_limit", 2)
    ).clamped()  # fmt: skip
    live = Liveness(timing, boottime(), fraction=random.random(), max_age_s=float(hello.get("max_age_s", 0)))  # noqa: S311
    return Connection(channel, live, subscription, figures, spread_s=hello.get("reconnect_spread_ms", 0) / 1000)


async def _expect(channel: Channel, kind: str) -> dict[str, Any]:
    try:
        while (frame := await channel.receive()).get("type") != kind:
            pass
    except EndedError as error:
        raise stopped(error) if error.verdict is Verdict.stop else error from None
    return frame


class Connection:
    """`spread_s` is what the server announced for the first attempt after a cut."""

    def __init__(
        self, channel: Channel, live: Liveness, subscription: Subscription, figures: Figures, spread_s: float = 0.0
    ) -> None:
        self.channel, self.spread_s, self.opened_at = channel, spread_s, boottime()
        self._live, self._subscription, self._figures = live, subscription, figures
        self._reader = asyncio.ensure_future(channel.receive())

    @property
    def lived_s(self) -> float:
        return boottime() - self.opened_at

    async def turn(self, other: asyncio.Future[Any] | None) -> float | None:
        """One frame, or what the clock asks for, or `other` is done. Gives the seconds after which a successor is wanted.

        Raises EndedError.
        """
        waiting: set[asyncio.Future[Any]] = {self._reader, other} if other else {self._reader}
        begun = boottime()
        left = max(0.0, min(self._live.deadline - begun, TURN_S))
        await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if (late := boottime() - begun - left) > STALL_S:
            self._figures.lag_s = max(self._figures.lag_s, late)
        if self._reader.done():
            return self._feed()  # everything that was heard is fed before silence is judged
        wanted = None
        for action in self._live.tick(boottime()):
            if isinstance(action, Drain):
                await self._drain()
                for following in self._live.drained(boottime()):
                    await self._act(following)
            elif isinstance(action, Rotate):
                wanted = 0.0
            else:
                await self._act(action)
        return wanted

    def _feed(self) -> float | None:
        frame = self._reader.result()
        self._reader = asyncio.ensure_future(self.channel.receive())
        return self._subscription.feed(frame, self._live, boottime())

    async def _drain(self) -> None:
        """What lies in the socket since this process stood still."""
        while (await asyncio.wait({self._reader}, timeout=DRAIN_S))[0]:
            self._feed()

    async def _act(self, action: Action) -> None:
        if isinstance(action, Ping):
            cursors = {self._subscription.inbox: self._subscription.cursor} if self._subscription.cursor else {}
            frame = {"type": "ping", "id": action.id, "ts": time.time(), "cursors": cursors}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await self.channel.send({**frame, "counters": self._figures.counters()})
        elif isinstance(action, Dead):
            self._figures.zombie_s = boottime() - self._live.heard_at
            raise EndedError("silent")

    async def leave(self) -> None:
        """Let go; with a goodbye when somebody may hear it."""
        self._reader.cancel()
        if self._live.dead:
            self.channel.abandon()
        else:
            await self.channel.close()
