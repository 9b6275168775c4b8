"""What was handled before, across restarts: delivery is at least once, and this makes handling once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


class Seen:
    """A set of names in a file, bounded: the oldest go. For one process at a time, any of its threads.

    A name is kept only when its block ends well, and is on disk before the block is left.
    """

    def __init__(self, path: str | Path, limit: int = 100_000) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = wal")
        self._database.execute("PRAGMA synchronous = full")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS seen (number INTEGER PRIMARY KEY, name TEXT UNIQUE, at REAL)"
        )

    def __contains__(self, name: str) -> bool:
        with self._lock, closing(self._database.execute("SELECT 1 FROM seen WHERE name = ?", [name])) as found:
            return found.fetchone() is not None

    def add(self, name: str) -> None:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT OR IGNORE INTO seen (name, at) VALUES (?, ?)", [name, time.time()])
            self._database.execute("DELETE FROM seen WHERE number <= (SELECT max(number) FROM seen) - ?", [self._limit])
            self._database.execute("COMMIT")

    @contextmanager
    def once(self, name: str) -> Iterator[bool]:
        """Whether it is new; remembered when the block ends without an exception."""
        new = name not in self
        yield new
        if new:
            self.add(name)

    def close(self) -> None:
        self._database.close()
