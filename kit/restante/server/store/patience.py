"""Lets go of a server that owes an answer. Its kernel may acknowledge every byte though its programs are frozen: TCP sees nothing then."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg

LOOK_S = 0.5


class Patience:
    """Watches the connections of several threads; the one that waits for longer than `limit_s` finds its connection broken."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._waiting: dict[object, tuple[psycopg.Connection[Any], float]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def waiting(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """What the calling thread does now with `connection` may take so long and no longer."""
        mark = object()
        with self._lock:
            self._waiting[mark] = connection, time.monotonic() + self.limit_s
        try:
            yield
        finally:
            with self._lock:
                del self._waiting[mark]

    def watch(self, stopped: threading.Event) -> None:
        """Until `stopped`."""
        while not stopped.wait(LOOK_S):
            with self._lock:
                for connection, deadline in self._waiting.values():
                    if time.monotonic() > deadline:
                        _break(connection)


def _break(connection: psycopg.Connection[Any]) -> None:
    """Both directions of the socket end at once; the thread that waits on it is told by libpq."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)
