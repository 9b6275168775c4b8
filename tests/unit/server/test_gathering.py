"""What a commit takes with it: whoever was answered with the last one may come again at once, and nobody who is alone waits."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import pytest

from restante.server.store import gathering
from restante.server.store.gathering import Gathering

LONG_S = 3600.0  # a wait that is not over in time would not end


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "DELAY_S", LONG_S)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Gathering[str]:
    return Gathering(clock)


def put(queue: Gathering[str], items: str) -> None:
    for item in items:
        queue.put(item)


def taking(queue: Gathering[str]) -> Future[list[str]]:
    """A writer that has answered its last batch and waits already."""
    queue.answer()
    taken: Future[list[str]] = Future()
    threading.Thread(target=lambda: taken.set_result(queue.take()), daemon=True).start()
    while not queue._changed._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    return taken


def test_one_that_is_alone_does_not_wait(queue: Gathering[str]) -> None:
    for item in "abc":
        taken = taking(queue)
        put(queue, item)
        assert taken.result(20) == [item]


def test_what_waits_goes_together(queue: Gathering[str]) -> None:
    put(queue, "abc")
    assert queue.take() == ["a", "b", "c"]


def test_two_halves_become_one_whole(queue: Gathering[str]) -> None:
    put(queue, "ab")
    queue.take()
    put(queue, "cd")  # while a and b are committed
    whole = taking(queue)
    put(queue, "ab")  # answered, and here again
    assert whole.result(20) == ["c", "d", "a", "b"]


def test_who_is_here_again_before_the_writer_looks_is_counted_once(queue: Gathering[str]) -> None:
    put(queue, "ab")
    queue.take()
    queue.answer()
    put(queue, "ab")
    assert queue.take() == ["a", "b"]


def test_whoever_does_not_come_again_is_not_waited_for(queue: Gathering[str], clock: Clock) -> None:
    put(queue, "ab")
    queue.take()
    late = taking(queue)
    clock.now += LONG_S + 1
    put(queue, "c")
    assert late.result(20) == ["c"]
    later = taking(queue)
    put(queue, "d")
    assert later.result(20) == ["d"], "and it is forgotten"


def test_one_transaction_holds_so_many_and_so_much_mail_and_no_more(
    queue: Gathering[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MOST", 3)
    put(queue, "abcd")
    assert queue.take() == ["a", "b", "c"]
    queue.put("e", gathering.MOST_BYTES)
    queue.put("f")
    assert queue.take() == ["d", "e"]


def test_what_was_put_before_the_end_is_still_taken(queue: Gathering[str]) -> None:
    put(queue, "abc")
    queue.close()
    assert queue.take() == ["a", "b", "c"]
    assert queue.take() == []


def test_the_end_ends_a_wait(queue: Gathering[str]) -> None:
    waiting = taking(queue)
    queue.close()
    assert waiting.result(20) == []
