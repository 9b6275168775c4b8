"""When to try again: growing delays that no two clients share.

A delay doubles from FIRST_S to LAST_S, each with up to JITTER on top. The first attempt after a cut also waits a random part
of the spread that the server announced, so that all its clients don't come back in one second. Only a connection that lived
for HEALTHY_S counts as a success: one that opens and dies at once must not be tried every second for ever.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 1.0
LAST_S = 60.0
JITTER = 0.3
HEALTHY_S = 60.0


class Backoff:
    """`random` gives a number in [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.attempts = 0

    def delay_s(self, spread_s: float = 0.0) -> float:
        """Seconds until the next attempt, which this counts. `spread_s` is the server's, for the first one only."""
        delay = min(LAST_S, FIRST_S * 2.0 ** min(self.attempts, 16)) * (1 + JITTER * self._random())
        if self.attempts == 0:
            delay += spread_s * self._random()
        self.attempts += 1
        return delay

    def lived(self, seconds: float) -> None:
        """A connection ended that was open for so long."""
        if seconds >= HEALTHY_S:
            self.attempts = 0
