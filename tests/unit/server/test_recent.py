"""What was just committed is known without a read: without a hole, for seconds, and never instead of the store."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from restante.server.store.base import Summary
from restante.server.store.recent import KEPT_S, Recent


def stored(inbox_id: int, seq: int, subject: str = "") -> Summary:
    return Summary(inbox_id, seq, seq, 10, 0.0, "", "", "", subject, "", False, None)


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def recent(now: list[float]) -> Recent:
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    return Recent(clock)


def seqs(found: list[Summary]) -> list[int]:
    return [each.seq for each in found]


def test_what_follows_a_position_comes_in_order_and_no_more_than_wanted(recent: Recent) -> None:
    recent.add([stored(1, 5), stored(2, 1), stored(1, 6), stored(1, 7)])
    assert seqs(recent.after(1, 4, 10)) == [5, 6, 7]
    assert seqs(recent.after(1, 5, 1)) == [6]
    assert seqs(recent.after(2, 0, 10)) == [1]


def test_nothing_is_told_beyond_what_another_server_committed_in_between(recent: Recent) -> None:
    recent.add([stored(1, 5), stored(1, 7)])
    assert seqs(recent.after(1, 4, 10)) == [5]
    assert not recent.after(1, 5, 10)
    assert not recent.after(1, 3, 10)


def test_it_is_forgotten_before_a_failover_could_have_taken_it_back(recent: Recent, now: list[float]) -> None:
    recent.add([stored(1, 5, "lost"), stored(1, 6, "lost")])
    now[0] += KEPT_S + 0.1
    assert not recent.after(1, 4, 10)
    recent.add([stored(1, 5, "instead")])
    assert [each.subject for each in recent.after(1, 4, 10)] == ["instead"]


def test_it_holds_no_more_than_those_seconds(recent: Recent, now: list[float]) -> None:
    for number in range(100):
        recent.add([stored(1, number)])
        now[0] += KEPT_S / 10
    assert len(recent._found) <= 12
    assert len(recent._order) <= 12
