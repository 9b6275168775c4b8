"""The map from which Postfix answers RCPT while the store and this server may be away.

Table recipient(address, reply): OK, or the temporary refusal of a full inbox. Table state(reply): when it has a row, that is
the answer for all. Rollback journal, not WAL: Postfix's proxymap reads it as a user who may not write beside it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

FULL = "452 4.2.2 this inbox is full; try again later"
UNREAD = "451 4.3.0 the inboxes are not known yet; try again later"
NO_SPACE = "452 4.3.1 no space is left for mail; try again later"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS recipient (address TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 1), reply TEXT NOT NULL);
"""


class Recipients:
    """Writes only what changed: Postfix waits while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: tuple[dict[str, str], bool] | None = None

    def begin(self) -> None:
        """Until the store was read once, all mail is put off. Without a file Postfix would remember for minutes that there was none."""
        if not self.path.exists():
            with self._opened() as connection:
                self._write(connection, {}, UNREAD)

    def update(self, rows: Iterable[tuple[str, int, int | None]], quota_bytes: int, *, full: bool) -> int:
        """Rows: (address, used bytes, quota). `full`: no free space. Returns how many answers changed."""
        wanted = {
            address: "OK" if used < (quota_bytes if quota is None else quota) else FULL for address, used, quota in rows
        }
        if self._last == (wanted, full):
            return 0
        with self._opened() as connection:
            changed = self._write(connection, wanted, NO_SPACE if full else None)
        self._last = (wanted, full)
        return changed

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection:
            connection.executescript(_SCHEMA)
            self.path.chmod(0o644)
            yield connection

    def _write(self, connection: sqlite3.Connection, wanted: dict[str, str], to_all: str | None) -> int:
        there = dict(connection.execute("SELECT address, reply FROM recipient"))
        gone = [(address,) for address in there.keys() - wanted.keys()]
        new = [(address, reply) for address, reply in wanted.items() if there.get(address) != reply]
        with connection:
            connection.executemany("DELETE FROM recipient WHERE address = ?", gone)
            connection.executemany("INSERT OR REPLACE INTO recipient VALUES (?, ?)", new)
            connection.execute("DELETE FROM state")
            if to_all:
                connection.execute("INSERT INTO state VALUES (1, ?)", [to_all])
        return len(gone) + len(new)
