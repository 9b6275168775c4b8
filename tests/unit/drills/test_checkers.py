"""Each checker catches what was forged for it, and holds nothing against a run that is as it should be."""

from __future__ import annotations

from typing import Any

import pytest
from forgery import CLEAN, FORGED, cases, forged

from restante.drills.checkers import CHECKERS, judge
from restante.drills.figures import sides
from restante.drills.history import read

CASES = cases("cases.yml")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_was_put_there_is_found(case: dict[str, Any]) -> None:
    found = judge(forged(case))
    assert any(case["found"] in sentence for sentence in found), found


@pytest.mark.parametrize("case", cases("explained.yml"), ids=lambda case: case["name"])
def test_what_is_explained_is_not_held_against_it(case: dict[str, Any]) -> None:
    assert judge(forged(case)) == []


@pytest.mark.parametrize("path", [CLEAN, *sorted(FORGED.glob("measured-*.jsonl"))], ids=lambda path: path.stem)
def test_clean_runs_pass(path: Any) -> None:
    assert judge(read(path)) == []


def test_every_checker_has_caught_something() -> None:
    caught = {
        checker.__name__ for case in CASES for checker in CHECKERS
        if any(case["found"] in sentence for sentence in checker(forged(case), sides(forged(case))["kit"]))
    }  # fmt: skip
    assert caught == {checker.__name__ for checker in CHECKERS}
