"""What only a store behind a network has."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from scenario import POLICY, database, mail

from restante.server.store.base import InboxDraft, Receive, Verdict
from restante.server.store.connector import Connector
from restante.server.store.postgres import PLANNED_ONCE, PostgresStore
from restante.server.store.statements import named

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"


def test_connections_that_were_cut_while_idle_are_replaced_and_nobody_notices(postgresql: str) -> None:
    name = database(postgresql)

    async def work() -> None:
        store = PostgresStore(f"{postgresql} dbname={name}", POLICY)
        await store.start()
        inbox, _ = await store.create_inbox(InboxDraft("a@example.org"))
        for _ in range(2):
            assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
            assert (await store.head(inbox.id))[1] > 0
            subprocess.run(["psql", f"{postgresql} dbname={name}", "-qc", CUT], check=True, stdout=subprocess.DEVNULL)
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        assert (await store.head(inbox.id))[1] == 3
        assert (await store.durability())["fsync"] == "on"
        await store.close()

    asyncio.run(asyncio.wait_for(work(), 30))


@pytest.mark.parametrize(
    ("statement", "types"),
    [
        ("inboxes_for_arrivals", ["text[]"]),
        ("hops_known", ["text[]"]),
        ("repeats", ["text[]", "text[]"]),
        ("update_positions", ["bigint[]", "bigint[]", "bigint[]"]),
    ],
)
def test_the_writer_finds_rows_by_their_keys_even_where_it_plans_for_empty_tables(
    postgresql: str, statement: str, types: list[str]
) -> None:
    """Its plans are kept while the tables grow."""

    async def migrated(name: str) -> None:
        store = PostgresStore(f"{postgresql} dbname={name}", POLICY)
        await store.start()
        await store.close()

    name = database(postgresql)
    asyncio.run(migrated(name))
    with psycopg.connect(f"{postgresql} dbname={name}", autocommit=True) as connection:
        for setting in PLANNED_ONCE:
            connection.execute(f"SET {setting}")
        connection.execute(f"PREPARE asked ({', '.join(types)}) AS {numbered(statement)}")
        values = ", ".join(["'{}'"] * len(types))
        plan = [row[0] for row in connection.execute(f"EXPLAIN EXECUTE asked ({values})")]
    looked = [line for line in plan if re.search(r"(Index|Index Only|Seq) Scan", line)]
    assert looked, plan
    assert not any("Seq Scan" in line for line in plan), plan
    assert sum("Index Cond" in line for line in plan) == len(looked), plan


def numbered(statement: str) -> str:
    """With $1 and so on, as PREPARE wants it."""
    numbers: dict[str, str] = {}
    text = named("postgresql")[statement]
    return re.sub(r"(?<!:):(\w+)", lambda match: numbers.setdefault(match[1], f"${len(numbers) + 1}"), text)


def test_whichever_connection_finds_that_history_changed_says_so_on_disk(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of notifications waits for no disk, but not yet when it looks."""
    found: dict[str, Any] = {}

    def compare(self: PostgresStore, connection: psycopg.Connection[Any]) -> None:
        found[threading.current_thread().name] = connection.execute("SHOW synchronous_commit").fetchone()

    monkeypatch.setattr(PostgresStore, "_compare", compare)
    name = database(postgresql)

    async def work() -> None:
        store = PostgresStore(f"{postgresql} dbname={name}", POLICY)
        await store.start()
        await store.create_inbox(InboxDraft("a@example.org"))
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        await store.close()

    asyncio.run(asyncio.wait_for(work(), 30))
    assert {"store-writer", "store-notify"} <= set(found)
    assert set(found.values()) == {("on",)}


def test_what_its_host_tells_of_free_space_decides_and_silence_is_known(postgresql: str) -> None:
    name = database(postgresql)

    def tell(free: int, ago_s: int = 0) -> None:
        """As restante-space.service does."""
        value = f"'{free} ' || extract(epoch FROM now() - interval '{ago_s} seconds')"
        put = f"INSERT INTO meta VALUES ('free_space', {value}) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        subprocess.run(["psql", f"{postgresql} dbname={name}", "-qc", put], check=True)

    async def work() -> None:
        store = PostgresStore(f"{postgresql} dbname={name}", POLICY, floor_bytes=1000)
        await store.start()
        await store.create_inbox(InboxDraft("a@example.org"))
        assert await store.free_space() is None
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        tell(999)
        found = await store.free_space()
        assert found
        assert found.bytes == 999
        assert found.age_s < 10
        assert await store.ingest(mail("a@example.org")) == [Verdict.no_space]
        tell(1000, ago_s=300)
        found = await store.free_space()
        assert found
        assert found.age_s >= 300
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        await store.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_dead_host_is_asked_last_and_the_one_that_serves_first(postgresql: str) -> None:
    folder, user = postgresql.split()
    absent = "/nonexistent"
    connector = Connector(f"host={absent},{folder.removeprefix('host=')},{absent} {user} dbname=postgres")
    for _ in range(2):
        connector.connect().close()
    assert [host["host"] == absent for host in connector._hosts] == [False, True, True]
    assert connector.generation == 1, "the first was another host, and what leads there is stale"
    with pytest.raises(psycopg.OperationalError, match=f"(?s){absent}.*{absent}"):
        Connector(f"host={absent},{absent} {user}").connect()


def test_a_commit_whose_second_copy_was_given_up_is_not_acknowledged_and_its_repeat_is_known(postgresql: str) -> None:
    name = database(postgresql)

    def admin(*statements: str) -> str:
        argv = ["psql", f"{postgresql} dbname=postgres", "-qAt", *(f"-c{each}" for each in statements)]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    async def work() -> None:
        store = PostgresStore(f"{postgresql} dbname={name}", POLICY)
        await store.start()
        await store.create_inbox(InboxDraft("a@example.org"))
        arrival = mail("a@example.org", hop="mx/1")
        admin("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
        asked = store.ingest(arrival)
        while not (
            pid := admin(f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'SyncRep'")
        ):
            await asyncio.sleep(0.05)
        admin(f"SELECT pg_cancel_backend({pid.splitlines()[0]})")
        assert await asked == [Verdict.unavailable]
        admin("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        assert await store.ingest(arrival) == [Verdict.repeated]
        await store.close()

    try:
        asyncio.run(asyncio.wait_for(work(), 30))
    finally:
        admin("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


REFUSES = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE CONSTRAINT TRIGGER refusing AFTER INSERT ON message DEFERRABLE INITIALLY {moment} FOR EACH ROW EXECUTE FUNCTION refuse()
"""


@pytest.mark.parametrize("moment", ["IMMEDIATE", "DEFERRED"])
def test_a_commit_that_the_server_refuses_is_told_nobody_and_the_next_goes_well(postgresql: str, moment: str) -> None:
    """At one of its statements, or at COMMIT itself."""
    name = database(postgresql)
    conninfo = f"{postgresql} dbname={name}"

    async def work() -> None:
        store = PostgresStore(conninfo, POLICY)
        await store.start()
        inbox, _ = await store.create_inbox(InboxDraft("a@example.org"))
        with psycopg.connect(conninfo, autocommit=True) as administrator:
            administrator.execute(REFUSES.format(moment=moment))
            batch = [store.ingest(mail("a@example.org")) for _ in range(3)]
            assert await asyncio.gather(*batch) == [[Verdict.unavailable]] * 3
            assert (await store.head(inbox.id))[1] == 0
            administrator.execute("DROP TRIGGER refusing ON message")
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        assert (await store.head(inbox.id))[1] == 1
        await store.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_server_that_is_frozen_is_let_go_though_its_kernel_answers(postgresql: str) -> None:
    name = database(postgresql)
    of_this = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}'"

    async def work() -> None:
        store = PostgresStore(f"{postgresql} dbname={name} tcp_user_timeout=1000", POLICY)
        await store.start()
        await store.create_inbox(InboxDraft("a@example.org"))
        arrival = mail("a@example.org", hop="mx/2")
        assert await store.ingest(arrival) == [Verdict.stored]
        found = subprocess.run(
            ["psql", f"{postgresql} dbname=postgres", "-qAtc", of_this], check=True, capture_output=True
        )
        frozen = [int(pid) for pid in found.stdout.split()]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert await store.ingest(arrival) == [Verdict.repeated], "another connection serves"
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        await store.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_leader_that_lacks_an_acknowledged_commit_changes_every_epoch(postgresql: str) -> None:
    name = database(postgresql)
    conninfo = f"{postgresql} dbname={name}"

    async def work() -> None:
        store = PostgresStore(conninfo, POLICY)
        await store.start()
        inbox, _ = await store.create_inbox(InboxDraft("a@example.org"))
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        for lost, changed in (("", False), ("UPDATE inbox SET head = head - 1;", True), ("", False)):
            before = (await store.head(inbox.id))[0]
            subprocess.run(["psql", conninfo, "-qc", f"{lost} {CUT}"], check=True, stdout=subprocess.DEVNULL)
            assert ((await store.head(inbox.id))[0] != before) == changed
        await store.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_it_migrates_as_the_owner_of_the_tables_and_serves_as_who_owns_nothing(postgresql: str) -> None:
    setup = Path(__file__).parents[1] / "golden/ha/hosts/store-1/usr/local/lib/restante/store-setup"
    roles = setup.read_text().partition("<<'END'\n")[2].partition("\nEND\n")[0]
    url = postgresql.replace("user=postgres", "user=restante dbname=restante")

    async def work() -> None:
        store = PostgresStore(url, POLICY)
        await store.start()
        inbox, _ = await store.create_inbox(InboxDraft("a@example.org"))
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        assert len((await store.receive(inbox.id, Receive())).deliveries) == 1
        await store.retain()
        await store.new_epoch()
        await store.delete_inbox("a@example.org", force=True)
        await store.close()

    for _ in range(2):  # each deploy, and each change of the lead, does it again
        argv = ["psql", f"{postgresql} dbname=postgres", "-qX", "-v", "ON_ERROR_STOP=1"]
        subprocess.run(argv, input=roles, text=True, check=True)
        asyncio.run(asyncio.wait_for(work(), 60))
    with psycopg.connect(url, autocommit=True) as served:
        assert served.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall() == [
            ("restante_owner",)
        ]
        for statement in (
            "DROP TABLE message", "TRUNCATE message", "ALTER TABLE inbox ADD COLUMN x INT", "CREATE TABLE x ()", "CREATE ROLE x",
        ):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                served.execute(statement)
