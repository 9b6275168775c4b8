"""Whether one connection is alive, without I/O: fed with what was heard and with the time, it says what to do.

    event                                  misses        what follows
    opened                                 0             the first ping after a random part of an interval
    each interval, on a fixed grid         unchanged     Ping; its pong is due within pong_timeout
    its pong in time                       0             nothing: the round trip is noted
    no pong when it is due                 + 1           at missed_limit: Dead
    a pong that is late, any other frame   unchanged     nothing: one direction lives, which proves too little
    called later than STALL_S              unchanged     Drain: this process slept, and the pong may wait in the socket
    drained, and the pong was there        0             the delay was ours: lag, and not a loss
    drained, and it was not                + 1           a ping at once: the socket may have died while we slept
    0.9 of the age cap                     unchanged     Rotate: open another connection first, then leave this one

A server-sent stream can't be asked. It sends a beat each interval by itself: `asks=False` counts an interval and pong_timeout
without a beat as a miss, and each further interval as another, which gives the same bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from restante.protocol.heartbeat import Timing

STALL_S = 1.0  # called so much later than asked for: the loop or the machine stood still
ROTATE_AT = 0.9  # of the age at which the path would cut the connection


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping with this id."""

    id: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Feed everything that can be read without waiting, then call `drained`."""


@dataclass(frozen=True, slots=True)
class Dead:
    """Let go of the connection without a close handshake: nobody would answer."""


@dataclass(frozen=True, slots=True)
class Rotate:
    """Open another connection; close this one when that one is subscribed."""


Action = Ping | Drain | Dead | Rotate


class Liveness:
    """Times are seconds of one clock that goes on while the machine sleeps. `fraction` in [0, 1) places the first ping."""

    def __init__(
        self, timing: Timing, now: float, *, fraction: float = 0.0, max_age_s: float = 0.0, asks: bool = True
    ) -> None:
        self._timing, self._asks = timing, asks
        self._next_ping = now + fraction * timing.interval_s if asks else math.inf
        self._awaited: float | None = None if asks else now + timing.interval_s + timing.pong_timeout_s
        self._sent_at = now
        self._id = 0
        self._draining = False
        self._rotate_at = now + ROTATE_AT * max_age_s if max_age_s else math.inf
        self.misses = 0
        self.dead = False
        self.heard_at = now
        self.rtt_s: float | None = None
        self.lag_s = 0.0

    @property
    def deadline(self) -> float:
        """When `tick` is to be called, at the latest."""
        if self.dead or self._draining:
            return math.inf
        return min(self._next_ping if self._awaited is None else self._awaited, self._rotate_at)

    def heard(self, now: float) -> None:
        """Any frame."""
        self.heard_at = max(self.heard_at, now)

    def pong(self, number: int, now: float) -> None:
        self.heard(now)
        if self._awaited is None or number != self._id or (now > self._awaited and not self._draining):
            return
        self._awaited, self.misses = None, 0
        if not self._draining:
            self.rtt_s = now - self._sent_at

    def beat(self, now: float) -> None:
        """A beat of a server that can't be asked."""
        self.heard(now)
        self._awaited, self.misses = now + self._timing.interval_s + self._timing.pong_timeout_s, 0

    def tick(self, now: float) -> list[Action]:
        """What is due. Nothing before the deadline."""
        if self.dead or self._draining or now < self.deadline:
            return []
        late = now - self.deadline
        if late > STALL_S:
            self.lag_s = late
            if self._awaited is not None and now >= self._awaited:
                self._draining = True
                return [Drain()]
        return self._advance(now)

    def drained(self, now: float) -> list[Action]:
        """After Drain: all that could be read was fed."""
        self._draining = False
        if self._asks:
            self._next_ping = min(self._next_ping, now) if self._awaited is not None else self._next_ping
        return self._advance(now)

    def _advance(self, now: float) -> list[Action]:
        if self._awaited is not None and now >= self._awaited:
            self.misses += 1
            if self.misses >= self._timing.missed_limit:
                self.dead = True
                return [Dead()]
            self._awaited = None if self._asks else self._next_beat(now)
        actions: list[Action] = []
        if now >= self._rotate_at:
            self._rotate_at = math.inf
            actions.append(Rotate())
        if self._awaited is None and now >= self._next_ping:
            actions.append(self._ping(now))
        return actions

    def _ping(self, now: float) -> Ping:
        interval, pong = self._timing.interval_s, self._timing.pong_timeout_s
        # On the grid; a point that would come before this ping's own pong is due is left out.
        skipped = max(0, math.ceil((now + pong - self._next_ping) / interval) - 1)
        self._next_ping += interval * (skipped + 1)
        self._id += 1
        self._awaited, self._sent_at = now + pong, now
        return Ping(self._id)

    def _next_beat(self, now: float) -> float:
        due = self._awaited or now
        interval = self._timing.interval_s
        return due + interval * (math.floor((now - due) / interval) + 1)
