"""Postfix is told at once when the store takes mail again, whatever kept it from that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from office import Office, serving, settings

from restante.server import app
from restante.server.settings import Postfix, StoreSettings
from restante.server.store.base import FreeSpace, StoreError, Verdict
from restante.server.store.sqlite import SqliteStore


@pytest.fixture(autouse=True)
def _looks_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look of the server's own, still on its way when a test begins, would flush in the test's place."""

    async def never(_: app.PostOffice, __: float, ___: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(app.PostOffice, "_every", never)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    sections: dict[str, Any] = {
        "postfix": Postfix(recipients=tmp_path / "map" / "recipients.sqlite"),
        "store": StoreSettings(free_space_floor=1000),
    }
    with serving(settings(tmp_path / "data", **sections)) as made:
        yield made


def flushed(office: Office) -> bool:
    """Whether a look at the store asked for a flush."""
    mark: Path = office.office.settings.server.data / "flush"
    mark.unlink(missing_ok=True)
    office.run(office.office._recipients())
    return mark.exists()


def test_after_a_full_disk_the_queue_is_flushed_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [5000]

    async def free_space() -> FreeSpace:
        return FreeSpace(free[0])

    monkeypatch.setattr(office.office.post.store, "free_space", free_space)
    assert not flushed(office)
    free[0] = 10
    assert not flushed(office)
    free[0] = 5000
    assert flushed(office)
    assert not flushed(office)


def test_after_an_outage_of_the_store_the_queue_is_flushed_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreError("away")

    with monkeypatch.context() as during:
        during.setattr(office.office.post.store, "recipients", away)
        with pytest.raises(StoreError):
            flushed(office)
    assert flushed(office)
    assert not flushed(office)


@pytest.mark.parametrize("verdict", [Verdict.unavailable, Verdict.no_space])
def test_a_mail_that_was_sent_back_to_the_queue_is_fetched_though_no_look_found_the_store_away(
    office: Office, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    """A commit that was stuck on a dead connection fails after the store is back."""

    async def refused(_: object) -> list[Verdict]:
        return [verdict]

    with monkeypatch.context() as during:
        during.setattr(office.office.post.store, "ingest", refused)
        office.run(office.office._deliver(None))
    assert flushed(office)
    assert not flushed(office)


def test_a_mail_that_is_never_taken_does_not_flush_at_every_look(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_: object) -> list[Verdict]:
        return [Verdict.unavailable]

    monkeypatch.setattr(office.office.post.store, "ingest", refused)
    office.run(office.office._deliver(None))
    assert flushed(office)
    office.run(office.office._deliver(None))
    assert not flushed(office)
    monkeypatch.setattr(app, "FLUSH_PAUSE_S", 0.0)
    assert flushed(office)


def test_after_a_start_that_waited_for_its_store_the_queue_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = SqliteStore.start, []

    async def start(store: SqliteStore) -> None:
        tries.append(store)
        if len(tries) == 1:
            raise StoreError("away")
        await real(store)

    monkeypatch.setattr(SqliteStore, "start", start)
    monkeypatch.setattr(app, "RETRY_S", 0.01)
    recipients = tmp_path / "map" / "recipients.sqlite"
    with serving(settings(tmp_path / "data", postfix=Postfix(recipients=recipients))) as office:
        assert len(tries) == 2
        office.run(office.office._recipients())
        assert (tmp_path / "data" / "flush").exists()
