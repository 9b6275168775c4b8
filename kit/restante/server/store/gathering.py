"""What waits for the one writer, and when it is enough for a commit, whose cost hardly grows with what is in it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
MOST = 256
MOST_BYTES = 32 << 20  # of mail in one transaction: more would only hold memory
# As PostgreSQL's commit_delay, but nobody waits who is alone. Without it, twenty sessions fall into two halves, each of which waits
# for the commit of the other; and Postfix, which hands over one by one, finds a commit for each two or three of its mails.
DELAY_S = 0.01


class Gathering(Generic[T]):
    """A queue that any thread puts into and one thread takes from, whole batches at a time.

    Whoever was answered with a batch may come again at once, as a session that goes on to its next mail does. So the next batch
    stays open for DELAY_S after the answers, or until as many wait as were answered and waited already.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: deque[tuple[T, int]] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._wanted = self._expected = 1
        self._until = 0.0
        self._last = 0
        self._closed = False

    def put(self, item: T, size: int = 0) -> None:
        """`size`: its bytes of mail."""
        with self._changed:
            self._waiting.append((item, size))
            if len(self._waiting) >= self._wanted:
                self._changed.notify()

    def close(self) -> None:
        """What was put is still taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def answer(self) -> None:
        """To be called when the last batch is about to be answered: who comes from now on may be one of it."""
        with self._changed:
            self._expected, self._until = min(self._last + len(self._waiting), MOST), self._now() + DELAY_S

    def take(self) -> list[T]:
        """The next batch; waits for one at least. Nothing once it is closed and empty."""
        with self._changed:
            self._wait(1, None)
            self._wait(self._expected, max(0.0, self._until - self._now()))
            batch: list[T] = []
            size = 0
            while self._waiting and len(batch) < MOST and size < MOST_BYTES:
                item, more = self._waiting.popleft()
                batch.append(item)
                size += more
            self._last = len(batch)
            return batch

    def _wait(self, count: int, timeout_s: float | None) -> None:
        self._wanted = count
        self._changed.wait_for(lambda: self._closed or len(self._waiting) >= count, timeout_s)
