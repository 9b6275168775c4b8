"""A clock for leases that never goes back: an hour's step of the wall clock must not hold mail for an hour."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Unix seconds. Forward steps of the wall clock are followed, backward ones are not until it has caught up."""

    def __init__(self, wall: Callable[[], float] = time.time, ticks: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._ticks = wall, ticks
        self._latest = wall()
        self._seen = ticks()

    def now(self) -> float:
        ticks = self._ticks()
        self._latest = max(self._wall(), self._latest + max(0.0, ticks - self._seen))
        self._seen = ticks
        return self._latest

    def not_before(self, moment: float) -> None:
        """What another process saw, or the store holds from before a restart."""
        self._latest = max(self.now(), moment)
