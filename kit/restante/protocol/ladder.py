"""Which channel carries signals: the best that the path lets through, and a way back up.

    rung        leaves downwards                                                     climbs back
    websocket   a proxy refuses Upgrade; or TRIES in a row die young while plain     never: it is the top
    sse         HTTP works; the same for a stream                                    a try after CLIMB_S, doubled up to CLIMB_LAST_S
    poll        never: it is the floor                                               the same

Plain HTTP that fails too says nothing about a channel: the server is away, and the rung stays.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from restante.protocol.backoff import HEALTHY_S, JITTER

TRIES = 3
CLIMB_S = 300.0
CLIMB_LAST_S = 3600.0


class Rung(IntEnum):
    """Higher is better."""

    poll = 0
    sse = 1
    websocket = 2


class Ladder:
    """`random` gives a number in [0, 1). Times are seconds of one clock."""

    def __init__(self, random: Callable[[], float], top: Rung = Rung.websocket) -> None:
        self._random, self._top = random, top
        self._rung = top
        self._young = 0
        self._wait_s = CLIMB_S
        self.climb_at = float("inf")

    @property
    def rung(self) -> Rung:
        """Where the path was seen to hold."""
        return self._rung

    def choose(self, now: float) -> Rung:
        """What to open now: the rung, or the one above it when it is time to try."""
        return Rung(self._rung + 1) if now >= self.climb_at else self._rung

    def refused(self, tried: Rung, now: float) -> None:
        """The path answered, and will not carry this channel."""
        if tried > self._rung:
            self._again(now)
        else:
            self._down(now)

    def ended(self, tried: Rung, lived_s: float, now: float, *, http_works: bool) -> None:
        """It could not be opened (`lived_s` 0), or was cut after so long."""
        if lived_s >= HEALTHY_S:
            self._young = 0
        elif not http_works:
            return
        elif tried > self._rung:
            self._again(now)
        else:
            self._young += 1
            if self._young >= TRIES:
                self._down(now)

    def held(self, tried: Rung, now: float) -> None:
        """It has lived for HEALTHY_S: this is the rung."""
        self._young = 0
        if tried > self._rung:
            self._rung, self._wait_s = tried, CLIMB_S
            self.climb_at = float("inf") if tried == self._top else now + self._jittered()

    def _down(self, now: float) -> None:
        self._young = 0
        if self._rung > Rung.poll:
            self._rung = Rung(self._rung - 1)
            self._wait_s = CLIMB_S
            self.climb_at = now + self._jittered()

    def _again(self, now: float) -> None:
        self._wait_s = min(CLIMB_LAST_S, self._wait_s * 2)
        self.climb_at = now + self._jittered()

    def _jittered(self) -> float:
        return self._wait_s * (1 + JITTER * self._random())
