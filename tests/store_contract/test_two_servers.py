"""Two servers on one PostgreSQL, whose transactions meet."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from scenario import POLICY, database, mail

from restante.server.store import deliver
from restante.server.store.base import Batch, Handle, HandleResult, Inbox, InboxDraft, Receive
from restante.server.store.ingest import ingest
from restante.server.store.postgres import PostgresStore
from restante.server.store.retention import Policy
from restante.server.store.tx import Tx


class Two:
    """Two servers on one database, of which the first can be held inside a transaction while the second begins another."""

    def __init__(self, postgresql: str, policy: Policy = POLICY) -> None:
        self._server, self._name = postgresql, database(postgresql)
        self.one, self.other = (PostgresStore(f"{postgresql} dbname={self._name}", policy) for _ in range(2))

    def _ask(self, statement: str) -> str:
        argv = ["psql", f"{self._server} dbname=postgres", "-qAtc", statement]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    async def start(self, mails: int) -> Inbox:
        await self.one.start()
        await self.other.start()
        inbox, _ = await self.one.create_inbox(InboxDraft("a@example.org"))
        await asyncio.gather(*(self.one.ingest(mail("a@example.org")) for _ in range(mails)))
        return inbox

    async def during(self, first: Callable[[Tx], Any], second: Callable[[], Awaitable[Any]]) -> tuple[Any, Any]:
        """`first` commits only when `second`, begun after it, waits for a lock of it."""
        done, waited = threading.Event(), threading.Event()

        def held(tx: Tx) -> Any:
            found = first(tx)
            done.set()
            waited.wait(20)
            return found

        one = asyncio.ensure_future(self.one.write(held))
        await asyncio.to_thread(done.wait, 20)
        other = asyncio.ensure_future(second())
        waiting = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{self._name}' AND wait_event_type = 'Lock'"
        while not other.done() and not self._ask(waiting):
            await asyncio.sleep(0.02)
        waited.set()
        return await one, await other

    async def close(self) -> None:
        await self.one.close()
        await self.other.close()


def held(batch: Batch) -> list[Handle]:
    return [Handle(batch.consumer_id, each.summary.seq, each.lease) for each in batch.deliveries]


def test_two_servers_that_retain_at_once_count_what_they_remove_once(postgresql: str) -> None:
    two = Two(postgresql, Policy(retention_s=0, quota_bytes=1 << 30, hop_retention_s=10**9))

    async def work() -> None:
        inbox = await two.start(mails=1000)
        for _ in range(10):
            await two.one.ack(inbox.id, held(await two.one.receive(inbox.id, Receive(max_messages=100))))
        assert sum(await asyncio.gather(two.one.retain(), two.other.retain())) == 1000
        found = await two.one.inbox("a@example.org")
        assert (found.used_bytes, found.oldest) == (0, 1001)
        await two.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_who_seeks_back_while_another_server_retains_keeps_what_it_seeks(postgresql: str) -> None:
    two = Two(postgresql, Policy(retention_s=0, quota_bytes=1 << 30, hop_retention_s=10**9))

    async def work() -> None:
        inbox = await two.start(mails=2)
        await two.one.ack(inbox.id, held(await two.one.receive(inbox.id, Receive())))
        _, removed = await two.during(lambda tx: deliver.seek(tx, inbox.id, "default", 0), two.other.retain)
        assert removed == 0
        assert len((await two.one.receive(inbox.id, Receive())).deliveries) == 2
        await two.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_what_is_acknowledged_while_another_server_sweeps_is_no_dead_letter(postgresql: str) -> None:
    two = Two(postgresql)

    async def work() -> None:
        inbox = await two.start(mails=1)
        handles = held(await two.one.receive(inbox.id, Receive(lease_s=0, attempts=1)))
        found, buried = await two.during(
            lambda tx: deliver.acknowledge(tx, inbox.id, handles), lambda: two.other.bury_spent(1)
        )
        assert (found, buried) == ([HandleResult.ok], 0)
        assert await two.one.dead_letters(inbox.id, 0, 10) == []
        await two.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_what_another_server_commits_late_is_seen_by_who_looked_meanwhile(postgresql: str) -> None:
    """It was begun before the look, and is committed after a later one."""
    two = Two(postgresql)

    async def work() -> None:
        inbox = await two.start(mails=1)
        known: dict[int, tuple[str, int]] = {}

        async def look() -> None:
            known.update(await two.other.moved([inbox.id], known))

        async def meanwhile() -> None:
            await look()
            await two.other.create_inbox(InboxDraft("b@example.org"))
            await look()

        await two.during(lambda tx: ingest(tx, [mail("a@example.org")], 1 << 20), meanwhile)
        assert known[inbox.id][1] == 1
        await look()
        assert known[inbox.id][1] == 2
        await two.close()

    asyncio.run(asyncio.wait_for(work(), 60))


def test_another_server_s_mail_is_heard_of_without_a_poll(postgresql: str) -> None:
    two = Two(postgresql)

    async def work() -> None:
        inbox = await two.start(mails=0)
        heard = asyncio.get_running_loop().create_future()
        two.other.on_heads = lambda heads: heard.done() or heard.set_result(dict(heads))
        while not heard.done():  # whoever begins to listen hears what is told from then on
            await two.one.ingest(mail("a@example.org"))
            await asyncio.wait([heard], timeout=0.5)
        assert heard.result().keys() == {inbox.id}
        await two.close()

    asyncio.run(asyncio.wait_for(work(), 30))
