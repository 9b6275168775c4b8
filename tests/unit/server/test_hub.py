"""Who is woken, and which head a pong tells."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from restante.server.push.hub import Hub, Waiter
from restante.server.store.store import Store


class _Store:
    """Where the inbox stood when somebody asked."""

    async def head(self, _: int) -> tuple[str, int, int]:
        return "epoch", 5, 1


def test_a_head_never_goes_back_when_news_comes_late() -> None:
    async def work() -> None:
        hub = Hub(cast("Store", _Store()))
        hub.add(1, Waiter())
        assert await hub.head(1) == ("epoch", 5)
        hub.moved({1: 9})
        hub.moved({1: 7})
        assert hub.known_head(1) == ("epoch", 9)

    asyncio.run(work())


def test_who_listens_to_another_inbox_sleeps_on() -> None:
    async def work() -> None:
        hub = Hub(cast("Store", _Store()))
        with hub.waiter(1) as one, hub.waiter(2) as two:
            hub.moved({1: 6})
            assert await one.wait(1)
            assert not await two.wait(0)
        assert hub.known_head(1) is None, "nobody listens, and nothing is remembered"

    asyncio.run(work())


def test_a_store_that_commits_is_not_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    hub = Hub(cast("Store", _Store()))
    now[0] += 11
    assert hub.store_is_away
    hub.moved({1: 7})
    assert not hub.store_is_away
