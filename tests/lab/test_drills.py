"""The quick set on real hosts: every cause, three stacks, nothing lost by the kit; the page in a real browser; nothing survives."""

from __future__ import annotations

import json
import os
import re
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
from restante.lab.lab import Lab
from restante.lab.system import await_true

pytestmark = [pytest.mark.lab, pytest.mark.alone]
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


def begun(folder: Path, *names: str) -> subprocess.Popen[str]:
    command = [*DRILL, "run", *names, "--quick", "--jobs", "2", "--out", str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def until_said(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"it ended and never said '{words}'")


def of_labs(labs: Path) -> list[str]:
    """Command lines that name a folder of these labs, or whose process was started for them: the senders name none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (
                (process / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")
            )
        except OSError:
            continue
        if str(labs) in words + environment and str(os.getpid()) != process.name:
            found.append(words.replace("\0", " "))
    return found


def nothing_is_left(labs: Path) -> bool:
    """What was started outside a lab ends by itself when it finds that its lab is gone."""
    return await_true(lambda: not of_labs(labs), 60) and not list(labs.iterdir())


@pytest.mark.parametrize(
    ("sent", "moment"),
    [(signal.SIGINT, "nat-forgets-1: plays"), (signal.SIGTERM, "drill: booted")],
    ids=["ctrl-c", "sigterm"],
)
def test_a_run_that_is_stopped_takes_everything_with_it(own_labs: Path, tmp_path: Path, sent: int, moment: str) -> None:
    """One plays and one may still boot when Ctrl-C comes; two wait for their turn, which must not come."""
    process = begun(tmp_path / "out", "nat-forgets", "nat-resets", "silence", "poison")
    until_said(process, moment)
    process.send_signal(sent)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "interrupted" in said
    assert "Traceback" not in said
    assert nothing_is_left(own_labs), of_labs(own_labs)


def test_a_run_whose_lab_dies_says_so_and_leaves_nothing(own_labs: Path, tmp_path: Path) -> None:
    process = begun(tmp_path / "out", "planned-cuts")
    until_said(process, "planned-cuts-1: plays")
    os.kill(Lab(own_labs / "drill-planned-cuts-1").supervisor(), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "planned-cuts-1: not played: " in said
    assert "Traceback" not in said
    assert nothing_is_left(own_labs), of_labs(own_labs)


@pytest.mark.long
def test_a_run_whose_hosts_cannot_be_deployed_says_so_and_leaves_nothing(own_labs: Path, tmp_path: Path) -> None:
    """Its spec is spoilt before its second deploy, if not before its first."""
    process, specs = begun(tmp_path / "out", "poison"), list[Path]()
    until_said(process, "drill: booted")

    def deploys() -> bool:
        specs[:] = [Path(word) for line in of_labs(own_labs) for word in line.split() if word.endswith("/drill.yml")]
        return bool(specs)

    assert await_true(deploys, 60)
    specs[0].write_text("nonsense\n")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert re.search(r"drill: `restante deploy .*` ended with 2", said), said
    assert "Traceback" not in said
    assert nothing_is_left(own_labs), of_labs(own_labs)


@pytest.mark.parametrize("moment", ["drill: booted", "nat-forgets-1: plays"], ids=["booted", "plays"])
def test_what_a_killed_run_leaves_is_taken_away_by_lab_down_all(own_labs: Path, tmp_path: Path, moment: str) -> None:
    process = begun(tmp_path / "out", "nat-forgets")
    until_said(process, moment)
    process.kill()
    process.communicate(timeout=60)
    shown = subprocess.run(
        [sys.executable, "-m", "restante", "lab", "down", "--all"], capture_output=True, text=True, check=True
    )
    assert "down, nothing left" in shown.stdout
    assert nothing_is_left(own_labs), of_labs(own_labs)
