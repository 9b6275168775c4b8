"""What this server has just committed, so that a signal of it costs no read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from restante.server.store.base import Summary

# A signal leaves milliseconds after its commit. A leader that dies is replaced much later: nothing of another history is told.
KEPT_S = 2.0
Key = tuple[int, int]


class Recent:
    """Used on the event loop only. `now`: a clock that never goes back, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._found: dict[Key, Summary] = {}
        self._order: deque[tuple[float, Key]] = deque()

    def add(self, stored: Iterable[Summary]) -> None:
        """They are committed."""
        now = self._forget()
        for each in stored:
            key = each.inbox_id, each.seq
            self._found[key] = each
            self._order.append((now, key))

    def after(self, inbox_id: int, seq: int, limit: int) -> list[Summary]:
        """What follows `seq` without a hole; empty where it is not known, and the store must be asked."""
        self._forget()
        found: list[Summary] = []
        while len(found) < limit and (following := self._found.get((inbox_id, seq + 1 + len(found)))):
            found.append(following)
        return found

    def _forget(self) -> float:
        """What is too old goes; the time now."""
        now = self._now()
        while self._order and self._order[0][0] < now - KEPT_S:
            self._found.pop(self._order.popleft()[1], None)
        return now
