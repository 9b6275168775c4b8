"""What only a store behind a network has."""

from __future__ import annotations

import asyncio
import subprocess

from scenario import NUMBERS, POLICY, mail

from restante.server.store.base import InboxDraft, Verdict
from restante.server.store.postgres import PostgresStore

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"


def test_connections_that_were_cut_while_idle_are_replaced_and_nobody_notices(postgresql: str) -> None:
    name = f"cut{next(NUMBERS)}"
    subprocess.run(["psql", f"{postgresql} dbname=postgres", "-qc", f"CREATE DATABASE {name}"], check=True)

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


def test_what_its_host_tells_of_free_space_decides_and_silence_is_known(postgresql: str) -> None:
    name = f"space{next(NUMBERS)}"
    subprocess.run(["psql", f"{postgresql} dbname=postgres", "-qc", f"CREATE DATABASE {name}"], check=True)

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
