"""A migration that another server runs while this one takes mail, and a kill in the middle of one."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scenario import POLICY, database, mail

from restante.server.store import statements
from restante.server.store.base import InboxDraft, Verdict
from restante.server.store.postgres import PostgresStore
from restante.server.store.sqlite import SqliteStore

A = "a@example.org"
NEXT = "ALTER TABLE message ADD COLUMN note TEXT;\nCREATE INDEX message_note ON message (note);\n"
SLOW = """CREATE TABLE counted (n BIGINT);
WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 20000000) INSERT INTO counted SELECT n FROM up;
"""
START = """
import asyncio, sys
from pathlib import Path
from scenario import POLICY, database
from restante.server.store import statements
from restante.server.store.sqlite import SqliteStore
statements.SQL = Path(sys.argv[1])
asyncio.run(SqliteStore(Path(sys.argv[2]), POLICY).start())
"""


@pytest.fixture
def version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Makes this process the server of a version: with all migrations and one more, or with those that there are."""
    real = statements.SQL
    later = Path(shutil.copytree(real, tmp_path / "later"))

    def be(more: str | None = None) -> None:
        for engine in ("sqlite", "postgresql"):
            (later / engine / "999_next.sql").write_text(more or "")
        monkeypatch.setattr(statements, "SQL", later if more else real)

    return be


def test_mail_is_taken_while_another_server_migrates_and_by_the_server_before_it_afterwards(
    postgresql: str, version: Callable[..., None]
) -> None:
    name = database(postgresql)

    async def work() -> None:
        old = PostgresStore(f"{postgresql} dbname={name}", POLICY)
        await old.start()
        inbox, _ = await old.create_inbox(InboxDraft(A))
        under_way = [old.ingest(mail(A)) for _ in range(300)]
        version(NEXT)
        new = PostgresStore(f"{postgresql} dbname={name}", POLICY)
        await new.start()
        under_way += [store.ingest(mail(A)) for _ in range(100) for store in (old, new)]
        assert {tuple(each) for each in await asyncio.gather(*under_way)} == {(Verdict.stored,)}
        version()
        restarted = PostgresStore(f"{postgresql} dbname={name}", POLICY)
        await restarted.start()
        assert await restarted.ingest(mail(A)) == [Verdict.stored]
        assert (await restarted.head(inbox.id))[1] == 501
        for store in (old, new, restarted):
            await store.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_server_of_the_version_before_serves_a_file_that_was_migrated(
    tmp_path: Path, version: Callable[..., None]
) -> None:
    async def work() -> None:
        for more in (None, NEXT, None):
            version(more)
            store = SqliteStore(tmp_path / "store.sqlite", POLICY)
            await store.start()
            await store.create_inbox(InboxDraft(A, client_id="same"))
            assert await store.ingest(mail(A)) == [Verdict.stored]
            await store.close()

    asyncio.run(work())


def test_a_kill_during_a_migration_leaves_the_store_as_it_was_and_the_next_start_finishes_it(
    tmp_path: Path, version: Callable[..., None]
) -> None:
    path = tmp_path / "store.sqlite"

    async def one() -> int:
        store = SqliteStore(path, POLICY)
        await store.start()
        inbox, _ = await store.create_inbox(InboxDraft(A, client_id="same"))
        assert await store.ingest(mail(A)) == [Verdict.stored]
        head = (await store.head(inbox.id))[1]
        await store.close()
        return head

    assert asyncio.run(one()) == 1
    version(SLOW)
    argv = [sys.executable, "-c", START, str(statements.SQL), str(path)]
    with subprocess.Popen(argv, cwd=Path(__file__).parent) as migrating:
        locked(path)
        migrating.send_signal(signal.SIGKILL)
    version()
    assert tables(path).isdisjoint({"counted"})
    assert asyncio.run(one()) == 2
    version(SLOW.replace("20000000", "2"))
    assert asyncio.run(one()) == 3
    assert "counted" in tables(path)


def locked(path: Path) -> None:
    """Until somebody else writes."""
    deadline = time.monotonic() + 30
    with sqlite3.connect(path, isolation_level=None, timeout=0) as watcher:
        while time.monotonic() < deadline:
            try:
                watcher.execute("BEGIN IMMEDIATE")
                watcher.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return
    raise AssertionError("the migration never began")


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as database:
        return {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
