"""The fake post office does what the real one does: the same scenarios on both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from office import serving, settings

from restante.client.http import Http
from restante.client.testing import FakePostOffice

Call = Callable[[str, dict[str, Any]], Any]
NUMBERS = itertools.count()


@pytest.fixture(params=["fake", "real"])
def sides(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Call, Callable[[str], None], Callable[[float], None]]]:
    """(call a verb of the inbox, deliver a subject, move the clock)"""
    if request.param == "fake":
        fake = FakePostOffice("support@example.org")
        yield (
            lambda verb, body: fake.call("POST", f"/v1/inboxes/support@example.org/{verb}", body),
            fake.deliver,
            fake.advance,
        )
        return
    with serving(settings(tmp_path)) as office:
        http = Http(f"http://127.0.0.1:{office.http_port}", office.token, 10)
        clock = office.office.post.store.clock
        yield (
            lambda verb, body: http.call("POST", f"/v1/inboxes/support@example.org/{verb}", body),
            office.send,
            lambda seconds: clock.not_before(clock.now() + seconds),
        )
        http.close()


def taken(answer: dict[str, Any]) -> list[tuple[str, int]]:
    return [(item["message"]["subject"], item["attempt"]) for item in answer["items"]]


def results(answer: dict[str, Any]) -> list[str]:
    return [each["result"] for each in answer["results"]]


def test_leases_attempts_and_acknowledgements(sides: Any) -> None:
    call, deliver, advance = sides
    deliver("one")
    deliver("two")
    first = call("receive", {"max_messages": 1, "visibility_timeout": 60})
    assert taken(first) == [("one", 1)]
    assert taken(call("receive", {"visibility_timeout": 60})) == [("two", 1)]
    empty = call("receive", {})
    assert (empty["items"], empty["batch"]) == ([], None)
    assert 55 < empty["next_ready_in_s"] <= 60
    advance(61)
    again = call("receive", {"visibility_timeout": 60})
    assert taken(again) == [("one", 2), ("two", 2)]
    old, *new = (item["receipt_handle"] for answer in (first, again) for item in answer["items"])
    assert results(call("ack", {"receipt_handles": [old]})) == ["expired"]
    assert results(call("ack", {"receipt_handles": new})) == ["ok", "ok"]
    assert results(call("ack", {"receipt_handles": new})) == ["ok", "ok"]
    assert call("receive", {})["next_ready_in_s"] is None


def test_a_batch_is_acknowledged_by_its_name_and_an_attempt_gives_the_same_again(sides: Any) -> None:
    call, deliver, _ = sides
    for subject in ("one", "two", "three"):
        deliver(subject)
    first = call("receive", {"max_messages": 2, "attempt_id": "x"})
    assert call("receive", {"max_messages": 2, "attempt_id": "x"})["batch"] == first["batch"]
    assert taken(call("receive", {"ack_batch": first["batch"]})) == [("three", 1)]


def test_nacks_delays_and_dead_letters(sides: Any) -> None:
    call, deliver, advance = sides
    deliver("bad")
    for attempt in range(1, 6):
        item = call("receive", {})["items"][0]
        assert item["attempt"] == attempt
        call("nack", {"receipt_handles": [item["receipt_handle"]], "delay_seconds": 10, "reason": "no"})
        assert call("receive", {})["items"] == []
        advance(11)
    assert call("receive", {})["items"] == []
    assert call("dead-letters/redrive", {"since": 0}) == {"redriven": 1}
    item = call("receive", {})["items"][0]
    assert item["attempt"] == 1
    call("nack", {"receipt_handles": [item["receipt_handle"]], "count_attempt": False})
    assert taken(call("receive", {})) == [("bad", 1)]


def test_a_worker_gets_its_own_back_unless_it_holds_them(sides: Any) -> None:
    call, deliver, _ = sides
    deliver("one")
    deliver("two")
    assert taken(call("receive", {"worker": "w", "max_messages": 1})) == [("one", 1)]
    assert taken(call("receive", {"worker": "w", "max_messages": 1, "reclaim": False})) == [("two", 1)]
    assert call("receive", {"worker": "other"})["items"] == []
    assert taken(call("receive", {"worker": "w"})) == [("one", 2), ("two", 2)]


def test_an_extended_lease_holds(sides: Any) -> None:
    call, deliver, advance = sides
    deliver("one")
    handle = call("receive", {"visibility_timeout": 30})["items"][0]["receipt_handle"]
    advance(20)
    assert results(call("extend", {"receipt_handles": [handle], "visibility_timeout": 30})) == ["ok"]
    advance(20)
    assert call("receive", {})["items"] == []
    advance(11)
    assert taken(call("receive", {})) == [("one", 2)]
    assert results(call("extend", {"receipt_handles": [handle], "visibility_timeout": 30})) == ["expired"]
