"""What only a store in a file has."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from scenario import POLICY, mail

from restante.server.store import migrations
from restante.server.store.base import InboxDraft, StoreError, Verdict
from restante.server.store.sqlite import SqliteStore


def test_a_start_on_a_full_disk_fails_and_the_next_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def work() -> None:
        store = SqliteStore(tmp_path / "store.sqlite", POLICY)
        with monkeypatch.context() as during:
            during.setattr(migrations, "sqlite", full)
            for _ in range(2):
                with pytest.raises(StoreError, match="disk I/O error"):
                    await store.start()
        await store.start()
        await store.create_inbox(InboxDraft("a@example.org"))
        assert await store.ingest(mail("a@example.org")) == [Verdict.stored]
        await store.close()

    asyncio.run(asyncio.wait_for(work(), 10))
