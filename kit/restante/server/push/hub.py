"""Who waits for which inbox. A head that moved wakes them; they read the store themselves, so no signal comes before a commit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from restante.server.store.base import StoreError
from restante.server.store.store import Store

log = logging.getLogger(__name__)
POLL_S = 2.0  # notifications may be lost; this is what then shows their mail
STALE_S = 10.0  # older heads are not told as if they were the store's


class Listener(Protocol):
    """Anything that is woken when an inbox moves."""

    def wake(self, inbox_id: int) -> None:
        """Must return at once."""


class Waiter:
    """An event for one inbox: what a long-poll and an SSE stream wait on."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self, inbox_id: int) -> None:
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Whether it was woken; it sleeps again from here."""
        try:
            await asyncio.wait_for(self._event.wait(), max(0.0, timeout_s))
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Hub:
    """`draining` is set once, when the server is to stop: whoever waits answers and goes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: dict[int, set[Listener]] = defaultdict(set)
        self._heads: dict[int, tuple[str, int]] = {}
        self._fresh_at = time.monotonic()
        self.everything: set[Listener] = set()
        self.draining = asyncio.Event()

    def add(self, inbox_id: int, listener: Listener) -> None:
        self._listeners[inbox_id].add(listener)

    def remove(self, inbox_id: int, listener: Listener) -> None:
        self._listeners[inbox_id].discard(listener)
        if not self._listeners[inbox_id]:
            del self._listeners[inbox_id]
            self._heads.pop(inbox_id, None)

    @contextmanager
    def waiter(self, inbox_id: int) -> Iterator[Waiter]:
        waiter = Waiter()
        self.add(inbox_id, waiter)
        try:
            yield waiter
        finally:
            self.remove(inbox_id, waiter)

    def moved(self, heads: Mapping[int, int]) -> None:
        """The store's `on_heads`: it has just committed, or told of another server's commit."""
        self._fresh_at = time.monotonic()
        for inbox_id, head in heads.items():
            if known := self._heads.get(inbox_id):
                self._heads[inbox_id] = (known[0], max(head, known[1]))
            self.wake(inbox_id)

    def wake(self, inbox_id: int) -> None:
        for listener in (*self._listeners.get(inbox_id, ()), *self.everything):
            listener.wake(inbox_id)

    def drain(self) -> None:
        """Long-polls answer with what they have, streams end."""
        self.draining.set()
        for inbox_id in list(self._listeners):
            self.wake(inbox_id)

    async def look(self, inbox_id: int) -> tuple[str, int, int]:
        """(epoch, head, oldest) as the store has them; the head is remembered while somebody listens to the inbox."""
        epoch, head, oldest = await self._store.head(inbox_id)
        if inbox_id in self._listeners:
            known = self._heads.get(inbox_id)
            self._heads[inbox_id] = (epoch, max(head, known[1]) if known and known[0] == epoch else head)
        return epoch, head, oldest

    async def head(self, inbox_id: int) -> tuple[str, int]:
        """(epoch, head), as remembered or from the store."""
        return self._heads.get(inbox_id) or (await self.look(inbox_id))[:2]

    @property
    def store_is_away(self) -> bool:
        """Whether the store has not answered lately."""
        return time.monotonic() - self._fresh_at > STALE_S

    def known_head(self, inbox_id: int) -> tuple[str, int] | None:
        """For a heartbeat: None when the store has not answered lately."""
        return None if self.store_is_away else self._heads.get(inbox_id)

    async def poll(self) -> None:
        """For as long as the server runs: what no notification told is seen here."""
        while not self.draining.is_set():
            try:
                moved = await self._store.moved(self._listeners, self._heads)
                self._fresh_at = time.monotonic()
                for inbox_id, position in moved.items():
                    if self._heads.get(inbox_id, position) != position:
                        self.wake(inbox_id)
                    if inbox_id in self._listeners:
                        self._heads[inbox_id] = position
            except StoreError as error:
                log.warning("heads could not be read: %s", error)
            await asyncio.sleep(POLL_S)
