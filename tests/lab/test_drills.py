"""The quick set on real hosts: every cause, three stacks, nothing lost by the kit; the page in a real browser; nothing survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drills.browser import CHROMIUM, PAPER, Browser

from restante.drills.report import PAGE
from restante.drills.scenarios import SCENARIOS

pytestmark = pytest.mark.lab
DRILL = (sys.executable, "-m", "restante", "drill")
LIMIT_S = 1200  # for any machine; that the set itself waits for less than ten minutes is asked in test_drill_clocks.py


@dataclass(frozen=True)
class Run:
    status: int
    said: str
    scenarios: list[dict[str, Any]]
    folder: Path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("drill")
    command = [*DRILL, "run", "--quick", "--json", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert "Traceback" not in done.stderr
    print(done.stderr)
    return Run(done.returncode, done.stderr, json.loads(done.stdout)["scenarios"], folder)


def test_every_scenario_holds(quick: Run) -> None:
    assert {each["name"]: each["verdict"] for each in quick.scenarios} == {each.name: "held" for each in SCENARIOS}
    assert quick.status == 0, quick.said


def test_the_kit_lost_nothing_where_the_naive_stack_suffered(quick: Run) -> None:
    for each in quick.scenarios:
        assert (each["kit"]["lost"], each["kit"]["duplicates_unexplained"]) == (0, 0), each["name"]
        if each["naive"]:
            assert each["naive"]["lost"] or each["naive"]["blind_s"] > each["bound_s"], each["name"]


def test_a_run_is_judged_again_from_its_files(quick: Run) -> None:
    again = subprocess.run([*DRILL, "judge", "--json", *quick.folder.glob("*.jsonl")], capture_output=True, text=True)
    assert json.loads(again.stdout)["scenarios"] == quick.scenarios


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("mode", PAPER)
def test_the_page_is_whole_in_a_browser(quick: Run, tmp_path: Path, width: int, mode: str) -> None:
    page, browser = (quick.folder / PAGE).read_text(), Browser(tmp_path, width, mode)
    assert browser.measure(page) == {
        "paper": PAPER[mode], "window": width, "sticks_out": 0, "drawn": len(SCENARIOS),
    }  # fmt: skip
    assert browser.picture(page).stat().st_size > 20_000


@pytest.fixture
def own_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Labs of this test alone, so that --all means no others."""
    monkeypatch.setenv("RESTANTE_LAB_DIR", str(tmp_path / "labs"))
    yield tmp_path / "labs"
    subprocess.run([sys.executable, "-m", "restante", "lab", "down", "--all"], capture_output=True, check=True)


def until_said(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"it ended and never said '{words}'")


def of_labs(labs: Path) -> list[str]:
    """Command lines that name a folder of these labs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(labs) in words and str(os.getpid()) != entry.parent.name:
            found.append(words)
    return found


@pytest.mark.parametrize(
    ("sent", "moment"),
    [(signal.SIGINT, "nat-forgets-1: plays"), (signal.SIGTERM, "drill: booted")],
    ids=["ctrl-c", "sigterm"],
)
def test_a_run_that_is_stopped_takes_everything_with_it(own_labs: Path, tmp_path: Path, sent: int, moment: str) -> None:
    command = [*DRILL, "run", "nat-forgets", "--quick", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until_said(process, moment)
    process.send_signal(sent)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not of_labs(own_labs)
    assert not list(own_labs.iterdir())


def test_what_a_killed_run_leaves_is_taken_away_by_lab_down_all(own_labs: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*DRILL, "run", "nat-forgets", "--quick", "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True
    )
    until_said(process, "drill: booted")
    process.kill()
    process.communicate(timeout=60)
    shown = subprocess.run(
        [sys.executable, "-m", "restante", "lab", "down", "--all"], capture_output=True, text=True, check=True
    )
    assert "down, nothing left" in shown.stdout
    assert not of_labs(own_labs)
    assert not list(own_labs.iterdir())
