"""The store on PostgreSQL: several servers on several hosts. Arrivals share one writer's transactions, other work has a pool.

Signals cross hosts by NOTIFY, sent after the commit and coalesced: inside the transaction it would hold an instance-wide
lock through the commit. A notification may be lost, so heads are polled too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from restante.server.store import migrations
from restante.server.store.base import Arrival, FreeSpace, StoreError, Summary, Verdict
from restante.server.store.connector import Connector
from restante.server.store.gathering import Gathering
from restante.server.store.inboxes import new_epoch
from restante.server.store.ingest import ingest
from restante.server.store.patience import Patience
from restante.server.store.retention import Policy
from restante.server.store.statements import for_psycopg
from restante.server.store.store import Store, T
from restante.server.store.tx import Row, Tx

log = logging.getLogger(__name__)
WORKERS = 4
NOTIFY_PAUSE_S = 0.01  # at most a hundred a second: each is a transaction, and wakes every server
NOTIFY_INBOXES = 400  # a payload has less than 8000 bytes, an id at most 19 digits
OLDEST_VERSION = 150_000
_Waiting = tuple[Arrival, asyncio.Future[list[Verdict]]]
# A plan that was made for an empty table is kept while the table grows: until the next ANALYZE, batches took 60 ms.
PLANNED_EACH_TIME = ("plan_cache_mode = force_custom_plan",)
# Planning is half of what a small batch costs. The writer finds rows by one key each; where nothing but that key's index is left to
# the planner, the plan for an empty table is the plan for a full one (tests/store_contract/test_postgresql.py reads them).
PLANNED_ONCE = ("plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_mergejoin = off")
UNSYNCED = (*PLANNED_EACH_TIME, "synchronous_commit = off")  # for notifications: a hint may be lost with its host
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "wal_level")


class PostgresTx:
    """Lists are arrays; `many` is one statement over an array for each column."""

    def __init__(self, connection: psycopg.Connection[Row], now: float) -> None:
        self._connection, self.now = connection, now

    def all(self, statement: str, /, **parameters: Any) -> list[Row]:
        return self._execute(statement, parameters).fetchall()

    def each(self, statement: str, /, **parameters: Any) -> Iterator[Row]:
        return iter(self._execute(statement, parameters))

    def ask(self, statement: str, /, **parameters: Any) -> Callable[[], list[Row]]:
        return self._execute(statement, parameters).fetchall

    def one(self, statement: str, /, **parameters: Any) -> Row | None:
        return self._execute(statement, parameters).fetchone()

    def run(self, statement: str, /, **parameters: Any) -> int:
        return self._execute(statement, parameters).rowcount

    def many(self, statement: str, /, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            columns = {name: [row[name] for row in rows] for name in rows[0]}
            self._execute(statement, columns)

    def _execute(self, statement: str, parameters: Mapping[str, Any]) -> psycopg.Cursor[Row]:
        return self._connection.execute(for_psycopg(statement), parameters, binary=True)


class PostgresStore(Store):
    """`url` is a libpq URL or conninfo, without a password when `password` gives it. Free space below `floor_bytes` refuses mail."""

    engine = "postgresql"

    def __init__(self, url: str, policy: Policy, password: str | None = None, floor_bytes: int = 0) -> None:
        super().__init__(policy)
        self.floor_bytes, self._full = floor_bytes, False
        self._connector = Connector(url, password)
        self._patience = Patience(self._connector.patience_s)
        self._acknowledged: tuple[int, int] | None = None  # inbox and head of the last commit that Postfix was told of
        self._arrivals: Gathering[_Waiting] = Gathering()
        self._pool = ThreadPoolExecutor(WORKERS, "store-worker")
        self._readers = ThreadPoolExecutor(WORKERS, "store-reader")
        self._poller = ThreadPoolExecutor(1, "store-poll")
        self._local = threading.local()
        self._to_notify: queue.SimpleQueue[set[int] | None] = queue.SimpleQueue()
        self._open: set[psycopg.Connection[Row]] = set()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._own_pid = 0

    async def start(self) -> None:
        if self._threads:
            return
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._pool, self._migrate)
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in (
                (self._write_all, "store-writer"),
                (self._notify, "store-notify"),
                (self._listen, "store-listen"),
                (lambda: self._patience.watch(self._stopped), "store-patience"),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _migrate(self) -> None:
        with _sentence(), self._connect() as connection:
            if connection.info.server_version < OLDEST_VERSION:
                raise StoreError(
                    f"PostgreSQL {connection.info.server_version // 10_000} is too old; 15 or newer is needed"
                )
            migrations.postgresql(connection, self.clock.now())

    def _connect(self) -> psycopg.Connection[Row]:
        with _sentence():
            connection = self._connector.connect()
            connection.add_notice_handler(self._noticed)
            with self._patience.waiting(connection):
                row = connection.execute(for_psycopg("now")).fetchone()
                self._compare(connection)
                # After it: new epochs must be on disk, whoever's connection finds that they are due.
                for setting in getattr(self._local, "settings", PLANNED_EACH_TIME):
                    connection.execute(f"SET {setting}")
        self.clock.not_before(row[0] if row else 0.0)
        return connection

    def _compare(self, connection: psycopg.Connection[Row]) -> None:
        """After a failover: what a leader loses are its last commits, so looking for the last one that was told is enough.

        History changed then: every epoch does, and agents reconcile. What is gone is in the ledger of the host that took it.
        """
        if self._acknowledged is None:
            return
        inbox_id, head = self._acknowledged
        row = connection.execute(for_psycopg("head"), {"inbox_id": inbox_id}).fetchone()
        if row and row[1] < head:
            connection.execute(for_psycopg("new_epochs"), {"epoch": new_epoch()})
            log.error(
                "the store went back: inbox %s had %s messages and has %s; every epoch changes, restante ledger names what is gone",
                inbox_id, head, row[1],
            )  # fmt: skip
            self._acknowledged = None

    def _mine(self) -> psycopg.Connection[Row]:
        """The connection of the calling thread, made anew when the last one broke."""
        connection: psycopg.Connection[Row] | None = getattr(self._local, "connection", None)
        if connection is None or connection.closed or connection.broken or self._is_stale():
            if connection is not None:
                connection.close()
            connection = self._local.connection = self._connect()
            self._local.generation = self._connector.generation
            self._open.add(connection)
            self._open = {each for each in self._open if not each.closed}
        return connection

    def _is_stale(self) -> bool:
        """The calling thread's connection leads to a host from which another has taken over."""
        return bool(self._local.generation != self._connector.generation)

    async def close(self) -> None:
        self._stopped.set()
        self._arrivals.close()
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.join)
        self._pool.shutdown()
        self._readers.shutdown()
        self._poller.shutdown()
        for connection in list(self._open):
            connection.close()

    def ingest(self, arrival: Arrival) -> asyncio.Future[list[Verdict]]:
        future: asyncio.Future[list[Verdict]] = self._loop.create_future()
        self._arrivals.put((arrival, future), len(arrival.raw))
        return future

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self._loop.run_in_executor(self._pool, self._transaction, work)

    async def read(self, work: Callable[[Tx], T], *, apart: bool = False) -> T:
        return await self._loop.run_in_executor(self._poller if apart else self._readers, self._view, work)

    @contextlib.contextmanager
    def _begun(self, isolation: psycopg.IsolationLevel | None = None) -> Iterator[psycopg.Connection[Row]]:
        """A transaction; with an `isolation` it only reads. A commit that comes with a warning may be on one host only: a wait for the
        second was given up.

        A connection that broke while it was idle says so only now; nothing was done on it, so another serves.
        """
        with _sentence():
            with contextlib.ExitStack() as stack:
                self._local.warned = None
                try:
                    connection = self._enter(stack, isolation)
                except psycopg.OperationalError:
                    connection = self._enter(stack, isolation)
                yield connection
            if self._local.warned:
                raise psycopg.OperationalError(f"the outcome of a commit is unknown: {self._local.warned}")

    def _enter(self, stack: contextlib.ExitStack, isolation: psycopg.IsolationLevel | None) -> psycopg.Connection[Row]:
        connection = self._mine()
        stack.enter_context(self._patience.waiting(connection))
        # Said with BEGIN itself, in one round trip.
        connection.isolation_level, connection.read_only = isolation, isolation is not None
        stack.enter_context(connection.transaction())
        return connection

    def _noticed(self, notice: psycopg.errors.Diagnostic) -> None:
        """On the thread that uses the connection."""
        if notice.severity_nonlocalized == "WARNING":
            self._local.warned = notice.message_primary

    def _transaction(self, work: Callable[[Tx], T]) -> T:
        with self._begun() as connection:
            return work(PostgresTx(connection, self.clock.now()))

    def _view(self, work: Callable[[Tx], T]) -> T:
        with self._begun(psycopg.IsolationLevel.REPEATABLE_READ) as connection:
            return work(PostgresTx(connection, self.clock.now()))

    def _write_all(self) -> None:
        self._local.settings = PLANNED_ONCE
        while batch := self._arrivals.take():
            verdicts, stored = self._commit([arrival for arrival, _ in batch])
            self._arrivals.answer()
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits
                self._loop.call_soon_threadsafe(self._done, batch, verdicts, stored)
            if stored:
                self._to_notify.put({each.inbox_id for each in stored})
        self._to_notify.put(None)

    def _commit(self, arrivals: Sequence[Arrival]) -> tuple[list[list[Verdict]], list[Summary]]:
        """All in one transaction; when one of them is at fault, each alone, so that only that one is refused."""
        if self._full:
            return [[Verdict.no_space] * len(arrival.recipients) for arrival in arrivals], []
        try:
            with self._begun() as connection, connection.pipeline():
                verdicts, stored = ingest(PostgresTx(connection, self.clock.now()), arrivals, self.policy.quota_bytes)
            if stored:
                self._acknowledged = stored[-1].inbox_id, stored[-1].seq
        except Exception as error:
            away = isinstance(error.__cause__, psycopg.OperationalError)
            if len(arrivals) == 1 or away:
                # The outcome may be unknown: a retry is recognised by its hop identity.
                log.error("the store could not commit: %s", error)
                return [[Verdict.unavailable] * len(arrival.recipients) for arrival in arrivals], []
        else:
            return verdicts, stored
        alone = [self._commit([arrival]) for arrival in arrivals]
        return [each for found, _ in alone for each in found], [each for _, found in alone for each in found]

    def _done(self, batch: list[_Waiting], verdicts: list[list[Verdict]], stored: list[Summary]) -> None:
        for (_, future), found in zip(batch, verdicts, strict=True):
            if not future.done():
                future.set_result(found)
        self._grew(stored)

    def _notify(self) -> None:
        """Tell the other servers; what gathers while one notification is on its way goes with the next."""
        self._local.settings = UNSYNCED
        while (ids := self._to_notify.get()) is not None:
            while not self._to_notify.empty():
                if (more := self._to_notify.get()) is None:
                    self._to_notify.put(None)
                    break
                ids |= more
            waiting = sorted(ids)
            try:
                connection = self._mine()
                self._own_pid = connection.info.backend_pid
                with self._patience.waiting(connection):
                    for start in range(0, len(waiting), NOTIFY_INBOXES):
                        payload = ",".join(map(str, waiting[start : start + NOTIFY_INBOXES]))
                        connection.execute(for_psycopg("notify"), {"payload": payload})
            except (psycopg.Error, StoreError) as error:
                log.warning("a notification was lost, heartbeats and polls will show its mail: %s", error)
            self._stopped.wait(NOTIFY_PAUSE_S)

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                connection = self._mine()
                connection.execute("LISTEN restante")
                while not (self._stopped.is_set() or self._is_stale()):
                    # The generator holds the connection until it ends.
                    heard = list(connection.notifies(timeout=0.5, stop_after=1))
                    # What this server committed it has told already, in order.
                    payloads = [each.payload for each in heard if each.pid != self._own_pid]
                    if ids := {int(number) for payload in payloads for number in payload.split(",")}:
                        self._heard(ids)
            except (psycopg.Error, StoreError) as error:
                log.warning("not listening for the other servers' mail at this moment: %s", error)
                self._stopped.wait(1)

    def _heard(self, ids: set[int]) -> None:
        heads = self._view(lambda tx: {row[0]: row[2] for row in tx.all("heads", ids=sorted(ids))})
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.on_heads, heads)

    async def free_space(self) -> FreeSpace | None:
        """As the store's host told it last (restante-space.timer)."""
        told = await self.read(lambda tx: tx.one("meta", key="free_space"))
        if told is None:
            return None
        free, at = told[0].split()
        found = FreeSpace(int(free), max(0.0, self.clock.now() - float(at)))
        self._full = found.bytes < self.floor_bytes
        return found

    async def durability(self) -> Mapping[str, str]:
        def work() -> dict[str, str]:
            with self._begun() as connection:
                rows = {name: connection.execute(f"SHOW {name}").fetchone() for name in SETTINGS}
            return {name: row[0] if row else "" for name, row in rows.items()}

        return await self._loop.run_in_executor(self._pool, work)


@contextlib.contextmanager
def _sentence() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise StoreError(f"the store could not be used: {str(error).strip() or type(error).__name__}") from error
