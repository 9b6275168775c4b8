"""What is told of a number that moves."""

from __future__ import annotations

import math

from restante.server.trends import Trend


def watched(*readings: tuple[float, float]) -> Trend:
    made = Trend(window_s=600)
    for at, value in readings:
        made.look(at, value)
    return made


def test_what_rose_before_the_window_is_forgotten() -> None:
    assert watched((0, 0), (10, 100), (500, 103)).rise == 103
    assert watched((0, 0), (10, 100), (605, 103)).rise == 3
    assert Trend(600).rise == 0


def test_what_falls_ends_at_the_pace_of_the_window() -> None:
    assert watched((0, 1000), (600, 400)).ends_in_s() == 400
    assert watched((0, 1000), (600, 1000)).ends_in_s() == math.inf
    assert watched((0, 1000), (200, 10)).ends_in_s() == math.inf, "too little is known"
