"""Which mail a signal told of, and which only reconciliation found: what a push channel is worth."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from restante.client.figures import GRACE_S, Figures

KEPT = 10_000  # ids, so that memory stays bounded


class Found:
    """Signals and receipts meet here, from two threads."""

    def __init__(self, figures: Figures) -> None:
        self._figures, self._lock = figures, threading.Lock()
        self._signalled: OrderedDict[str, None] = OrderedDict()
        self._unsure: OrderedDict[str, float] = OrderedDict()

    def signalled(self, name: str) -> None:
        with self._lock:
            if self._unsure.pop(name, None) is not None:
                self._figures.found_by_socket += 1
                return
            self._signalled[name] = None
            while len(self._signalled) > KEPT:
                self._signalled.popitem(last=False)

    def received(self, name: str, age_s: float) -> None:
        """A message came; `age_s` is how long it has been readable."""
        now = time.monotonic()
        with self._lock:
            if name in self._signalled:
                del self._signalled[name]
                self._figures.found_by_socket += 1
            elif age_s >= GRACE_S:
                self._figures.found_by_reconciliation += 1
            else:
                self._unsure[name] = now + GRACE_S - age_s
            while self._unsure and next(iter(self._unsure.values())) <= now:
                self._unsure.popitem(last=False)
                self._figures.found_by_reconciliation += 1
