"""The store on SQLite: one process, one writer thread that commits everything that waits for it at once."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from restante.errors import InputError
from restante.server.store import migrations
from restante.server.store.base import Arrival, FreeSpace, StoreError, Summary, Verdict
from restante.server.store.gathering import Gathering
from restante.server.store.ingest import ingest
from restante.server.store.retention import Policy
from restante.server.store.statements import named
from restante.server.store.store import Store, T
from restante.server.store.tx import Row, Tx

log = logging.getLogger(__name__)
READERS = 2
SETTINGS = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": "on", "busy_timeout": "10000"}


class SqliteTx:
    """Lists become JSON arrays, which json_each() reads."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._run, self._many, self._clock = connection.execute, connection.executemany, clock
        self._sql = named("sqlite")
        self.now = clock()

    def tick(self) -> None:
        self.now = self._clock()

    def all(self, statement: str, /, **parameters: Any) -> list[Row]:
        return self._run(self._sql[statement], _plain(parameters)).fetchall()

    def each(self, statement: str, /, **parameters: Any) -> Iterator[Row]:
        return self._run(self._sql[statement], _plain(parameters))

    def ask(self, statement: str, /, **parameters: Any) -> Callable[[], list[Row]]:
        return self._run(self._sql[statement], _plain(parameters)).fetchall

    def one(self, statement: str, /, **parameters: Any) -> Row | None:
        rows = self._run(self._sql[statement], _plain(parameters)).fetchall()
        return rows[0] if rows else None

    def run(self, statement: str, /, **parameters: Any) -> int:
        return self._run(self._sql[statement], _plain(parameters)).rowcount

    def many(self, statement: str, /, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._many(self._sql[statement], rows)


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(item) if isinstance(item, list) else item for name, item in parameters.items()}


class _Work:
    """One thing that waits for the writer: an arrival, or a function over a transaction."""

    __slots__ = ("arrival", "error", "function", "future", "result")

    def __init__(
        self, future: asyncio.Future[Any], arrival: Arrival | None, function: Callable[[Tx], Any] | None
    ) -> None:
        self.future, self.arrival, self.function = future, arrival, function
        self.result: Any = None
        self.error: Exception | None = None

    def resolve(self) -> None:
        if self.future.done():
            return  # whoever asked has gone
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class SqliteStore(Store):
    """`path` is the database; a lock beside it keeps a second server away. Free space below `floor` refuses mail."""

    engine = "sqlite"

    def __init__(self, path: Path, policy: Policy, floor_bytes: int = 0) -> None:
        super().__init__(policy)
        self.path, self.floor_bytes = path, floor_bytes
        self._waiting: Gathering[_Work] = Gathering()
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self._poller = ThreadPoolExecutor(1, "store-poll")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = -1
        self._writer: threading.Thread | None = None

    async def start(self) -> None:
        if self._writer:
            return
        self._loop = asyncio.get_running_loop()
        if self._lock < 0:  # a start that failed holds it
            self._acquire()
        await self._loop.run_in_executor(self._readers, self._migrate)
        # Opened here, where an error is somebody's: a writer that never began would keep everyone waiting.
        connection = await self._loop.run_in_executor(self._readers, self._connect)
        self._writer = threading.Thread(target=self._write_all, args=[connection], name="store-writer", daemon=True)
        self._writer.start()

    def _acquire(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.path} is another server's at this moment; SQLite takes one server at a time"
            ) from None

    def _migrate(self) -> None:
        connection = self._connect()
        with contextlib.closing(connection), _sentence(self.path):
            migrations.sqlite(connection, self.clock.now())

    def _connect(self) -> sqlite3.Connection:
        with _sentence(self.path):
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            self.path.chmod(0o600)
            for name, setting in SETTINGS.items():
                connection.execute(f"PRAGMA {name} = {setting}")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        return connection

    async def close(self) -> None:
        if self._writer:
            self._waiting.close()
            await self._loop.run_in_executor(None, self._writer.join)
        self._readers.shutdown()
        self._poller.shutdown()
        for connection in self._opened:
            connection.close()
        os.close(self._lock)

    def ingest(self, arrival: Arrival) -> asyncio.Future[list[Verdict]]:
        return self._submit(_Work(self._loop.create_future(), arrival, None))

    def write(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        return self._submit(_Work(self._loop.create_future(), None, work))

    def _submit(self, work: _Work) -> asyncio.Future[Any]:
        self._waiting.put(work, len(work.arrival.raw) if work.arrival else 0)
        return work.future

    async def read(self, work: Callable[[Tx], T], *, apart: bool = False) -> T:
        return await self._loop.run_in_executor(self._poller if apart else self._readers, self._read, work)

    def _read(self, work: Callable[[Tx], T]) -> T:
        tx = getattr(self._local, "tx", None)
        if tx is None:
            connection = self._connect()
            self._opened.append(connection)
            tx = self._local.tx = SqliteTx(connection, self.clock.now)
        tx.tick()
        with _sentence(self.path):
            tx._run("BEGIN")  # one view of it all
            try:
                return work(tx)
            finally:
                tx._run("COMMIT")

    def _write_all(self, connection: sqlite3.Connection) -> None:
        tx = SqliteTx(connection, self.clock.now)
        while batch := self._waiting.take():
            stored = self._commit(connection, tx, batch)
            self._waiting.answer()
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
                self._loop.call_soon_threadsafe(self._done, batch, stored)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, tx: SqliteTx, batch: list[_Work]) -> list[Summary]:
        """All in one transaction; when that fails, each alone, so that only what is at fault fails."""
        try:
            return self._attempt(connection, tx, batch)
        except Exception as error:
            if len(batch) > 1:
                return [each for work in batch for each in self._commit(connection, tx, [work])]
            self._fail(batch[0], error)
            return []

    def _attempt(self, connection: sqlite3.Connection, tx: SqliteTx, batch: list[_Work]) -> list[Summary]:
        tx.tick()
        connection.execute("BEGIN IMMEDIATE")
        try:
            stored = self._arrivals(tx, [work for work in batch if work.arrival])
            for work in batch:
                if work.function:
                    work.result = work.function(tx)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return stored

    def _arrivals(self, tx: SqliteTx, batch: list[_Work]) -> list[Summary]:
        if not batch:
            return []
        if self._free() < self.floor_bytes:
            for work in batch:
                work.result = [Verdict.no_space] * len(work.arrival.recipients)  # type: ignore[union-attr]
            return []
        arrivals = [work.arrival for work in batch if work.arrival]
        verdicts, stored = ingest(tx, arrivals, self.policy.quota_bytes)
        for work, found in zip(batch, verdicts, strict=True):
            work.result = found
        return stored

    def _fail(self, work: _Work, error: Exception) -> None:
        work.error = error
        if isinstance(error, sqlite3.Error):
            log.error("the store could not commit: %s", error)
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
            work.error = StoreError(f"the store at {self.path} could not commit: {error}")
            if work.arrival:
                verdict = Verdict.no_space if full else Verdict.unavailable
                work.result, work.error = [verdict] * len(work.arrival.recipients), None

    def _done(self, batch: list[_Work], stored: list[Summary]) -> None:
        for work in batch:
            work.resolve()
        self._grew(stored)

    def _free(self) -> int:
        found = os.statvfs(self.path.parent)
        return found.f_bavail * found.f_frsize

    async def free_space(self) -> FreeSpace:
        return FreeSpace(self._free())

    async def durability(self) -> Mapping[str, str]:
        """As the writer's own connection has them."""
        names = {0: "off", 1: "normal", 2: "full", 3: "extra"}
        row = await self.write(lambda tx: tx.one("durability"))
        return {"journal_mode": row[0], "synchronous": names[row[1]]} if row else {}


@contextlib.contextmanager
def _sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the store at {path} could not be used: {error}") from error
