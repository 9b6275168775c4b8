"""Which history goes on from which, and which log belongs to it."""

from __future__ import annotations

import pytest

from restante.server.backup import timelines
from restante.server.backup.timelines import OPEN, History

FILE = "1\t0/301E430\tno recovery target specified\n\n2\t1/05000000\tbefore 2026-11-23 10:00:00+01\n"
FIRST = History({1: OPEN})
SECOND = History({1: 0x301E430, 2: OPEN})
THIRD = History({1: 0x301E430, 2: 0x105000000, 3: OPEN})


def test_a_file_of_history_says_where_each_timeline_before_was_left() -> None:
    assert timelines.read(3, FILE) == THIRD
    assert timelines.read(1, "") == FIRST


@pytest.mark.parametrize(
    ("leader", "held", "follows"),
    [
        (FIRST, FIRST, True),
        (THIRD, FIRST, True),
        (THIRD, SECOND, True),
        (FIRST, SECOND, False),
        (History({1: 0x5000000, 2: OPEN}), SECOND, False),
        (History({1: 0x301E430, 3: OPEN}), SECOND, False),
    ],
    ids=["the same", "two failovers", "one", "an older leader", "left elsewhere", "another branch"],
)
def test_a_history_goes_on_from_one_that_it_shares_every_point_with(
    leader: History, held: History, *, follows: bool
) -> None:
    assert leader.follows(held) == follows


def test_where_timelines_meet_the_later_one_has_the_segment() -> None:
    names = [THIRD.segment(number) for number in (2, 3, 0x104, 0x105)]
    assert names == [
        "000000010000000000000002", "000000020000000000000003", "000000020000000100000004", "000000030000000100000005",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("segment", "lacks", "cuts"),
    [
        ("000000010000000000000002", False, False),
        ("000000010000000000000003", False, True),
        ("000000010000000000000004", True, True),
        ("000000020000000100000004", False, False),
        ("000000020000000100000005", True, True),
        ("000000030000000100000005", False, False),
        ("000000040000000000000001", True, True),
    ],
)
def test_log_beyond_the_end_of_its_timeline_is_not_of_this_history(segment: str, *, lacks: bool, cuts: bool) -> None:
    assert (THIRD.lacks(segment), THIRD.cuts(segment)) == (lacks, cuts)
