"""How long the quick set waits by its own will, whatever the machine: each scenario plays on a stage that only adds up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import MagicMock

import pytest

from restante.cli.drill import JOBS
from restante.drills.lab_stage import LabStage
from restante.drills.scenario import Scenario
from restante.drills.scenarios import SCENARIOS, paths, shared, stores

QUICK_S = 600
# Left to the machine: the deploy, and for each scenario a boot, the proof that all works, the last mails. On two cores that takes three
# minutes of the eight that docs/explanation/drills.md tells.
MACHINE_S = 240


class Reckoning:
    """`waits` are the seconds of one scenario, at most. What would act on hosts does nothing."""

    def __init__(self, scenario: Scenario, *, quick: bool) -> None:
        self.waits: list[float] = []
        self.stage = stage = MagicMock(spec=LabStage)
        stage.quick, stage.sides, stage.agents, stage.random = quick, scenario.sides, scenario.agents, random.Random(1)
        stage.inboxes, stage.posts, stage.engine, stage.not_awaited, stage.expires = (
            ["a@b"],
            [MagicMock()],
            "",
            set(),
            0.0,
        )
        stage.history = MagicMock()
        stage.sleep.side_effect = lambda quick_s, long_s=None: self._wait(1.2 * quick_s, 1.2 * (long_s or quick_s))
        stage.hold.side_effect = self._wait
        stage.broken_for.side_effect = lambda quick_s, long_s, *_: self._wait(quick_s, long_s)
        stage.history.wait.side_effect = lambda limit_s, *_, **__: self._wait(limit_s, limit_s)
        stage.fault.side_effect = self._fault

    def _wait(self, quick_s: float, long_s: float) -> None:
        self.waits.append(quick_s if self.stage.quick else long_s)

    @contextmanager
    def _fault(self, _: str, inject: Callable[[], Any], heal: Callable[[], Any]) -> Iterator[None]:
        inject()
        yield
        heal()


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """Of a scenario, with quick clocks unless it is said otherwise."""
    monkeypatch.setattr(paths, "_certificates", lambda *_: None)
    for module in (shared, stores):
        monkeypatch.setattr(module, "office", MagicMock(named=lambda *_: set()))

    def reckon(scenario: Scenario, *, quick: bool = True) -> float:
        reckoning = Reckoning(scenario, quick=quick)
        clock = MagicMock(monotonic=lambda: sum(reckoning.waits), sleep=lambda wait: reckoning._wait(wait, wait))
        monkeypatch.setattr(paths, "time", clock)
        (scenario.prepare or LabStage.path)(reckoning.stage)
        scenario.play(reckoning.stage)
        return sum(reckoning.waits)

    return reckon


def longest_lane(waits: list[float], lanes: int) -> float:
    """Each order goes to the first lane that is free, as in lab_run.Play."""
    until = [0.0] * lanes
    for wait in waits:
        until[until.index(min(until))] += wait
    return max(until)


def test_the_quick_set_waits_for_so_short_that_it_ends_within_ten_minutes(seconds: Callable[..., float]) -> None:
    assert longest_lane([seconds(each) for each in SCENARIOS], JOBS) <= QUICK_S - MACHINE_S


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_quick_clocks_are_shorter_than_long_ones(scenario: Scenario, seconds: Callable[..., float]) -> None:
    assert 0 < seconds(scenario) < seconds(scenario, quick=False)


def test_the_long_clocks_are_as_long_as_they_say(seconds: Callable[..., float]) -> None:
    """So that this stage is known to add up what is waited for."""
    long = {each.name: seconds(each, quick=False) for each in SCENARIOS}
    assert 3600 < long["store-away"] < 3700
    assert long["silence"] == pytest.approx(1.2 * 10 + 120 + 1.2 * 30)


def test_an_order_goes_to_the_lane_that_is_free_first() -> None:
    assert longest_lane([5, 1, 1, 1, 3], 2) == 6
