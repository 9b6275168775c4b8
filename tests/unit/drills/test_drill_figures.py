"""Blind time, catching up and medians, on histories that a person can reckon with."""

from __future__ import annotations

import pytest
from forgery import CLEAN, forged

from restante.drills.figures import median, sides
from restante.drills.history import read


def test_each_side_of_the_clean_run() -> None:
    found = {name: side.summary() for name, side in sides(read(CLEAN)).items()}
    assert {name: each["lost"] for name, each in found.items()} == {"naive": 6, "common": 4, "kit": 0}
    assert {name: each["blind_s"] for name, each in found.items()} == {"naive": 66.0, "common": 38.0, "kit": 28.0}
    assert {name: each["blind_to_the_end"] for name, each in found.items()} == {
        "naive": True, "common": False, "kit": False,
    }  # fmt: skip
    assert found["kit"]["catch_up_s"] == 1.6
    assert found["kit"]["reconnects"] == 1


def test_a_fault_that_held_up_no_mail_made_nobody_blind() -> None:
    quick = {"change": [{"match": {"what": "inject"}, "to": {"at": 159.0}}]}
    assert sides(forged(quick))["kit"].blind == 0


def test_a_signal_is_knowledge_only_on_a_connection_that_holds() -> None:
    signal = {"at": 110.1, "side": "kit", "who": "agent", "what": "signal", "n": 3, "inbox": "agent-1"}
    assert sides(forged({"add": signal}))["kit"].blind == 28.0
    held = {"add": signal, "drop": [{"side": "kit", "what": "down"}]}
    assert sides(forged(held))["kit"].blind == pytest.approx(5.1)


def test_an_agent_knows_when_its_heartbeat_says_that_the_store_is_away() -> None:
    down = next(event for event in read(CLEAN).events if event["side"] == "kit" and event["what"] == "down")
    away = {**down, "what": "away", "at": down["at"] - 3}
    assert sides(forged({"add": away}))["kit"].blind == 25.0
    back = [away, {**away, "what": "back", "at": away["at"] + 0.5}]
    assert sides(forged({"add": back}))["kit"].blind == 25.0


def test_what_comes_while_the_fault_is_taken_away_is_counted_from_where_that_began() -> None:
    heal = next(event for event in read(CLEAN).events if event["what"] == "heal")
    slow = {"change": [{"match": {"what": "heal"}, "to": {"at": heal["at"] + 30}}]}
    assert sides(forged(slow))["kit"].catch_up > 20
    begun = {**slow, "add": {**heal, "what": "healing"}}
    assert sides(forged(begun))["kit"].catch_up == sides(read(CLEAN))["kit"].catch_up


def test_an_agent_that_knew_before_is_not_made_blind_by_the_next_fault() -> None:
    second = {"add": {"at": 135.0, "side": "all", "who": "nemesis", "what": "inject", "fault": "another"}}
    assert sides(forged(second))["kit"].blind == 28.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1, 2, 3), 2), ((4, 1), 1), ((None, 1, 2), 2), ((None, None, 1), None), ((True, False, True), True)],
)
def test_the_median_counts_never_as_the_most(values: tuple[object, ...], expected: object) -> None:
    assert median([{"x": value} for value in values]) == {"x": expected}
