"""`restante drill` without hosts: what it lists, judges, reports, and refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from forgery import CLEAN, forged, written

from restante.cli.drill import _clear, command
from restante.drills.run import Order
from restante.drills.scenario import SIDES
from restante.drills.scenarios import SCENARIOS
from restante.errors import InputError


def drill(*argv: str) -> Result:
    return CliRunner().invoke(command, argv)


def test_the_list_has_every_cause() -> None:
    assert {each.cause for each in SCENARIOS} == set(range(1, 16))
    names = [each.name for each in SCENARIOS]
    assert len(set(names)) == len(names)
    shown = drill("list").output
    assert all(each.name in shown and each.about in shown for each in SCENARIOS)


def test_the_history_of_a_restore_says_that_it_is_one(tmp_path: Path) -> None:
    restores = {each.name for each in SCENARIOS if Order(each, 1, True, tmp_path).header()["restores"]}
    assert restores == {"copy-restored", "store-restored"} == {each.name for each in SCENARIOS if each.cause == 15}


def test_a_run_is_judged_again_from_its_file() -> None:
    done = drill("judge", str(CLEAN))
    assert done.exit_code == 0
    assert "lost 6 of 8, blind to the end" in done.output
    assert "1 runs of 1 scenarios: 1 held; the kit lost 0" in done.output


def test_a_run_that_does_not_hold_ends_with_1_and_says_why(tmp_path: Path) -> None:
    lost = {"drop": [{"side": "kit", "what": "handled", "n": 5}]}
    done = drill("judge", str(written(tmp_path / "lost.jsonl", forged(lost))))
    assert done.exit_code == 1
    assert "silence: lost: mail (5) answered 250 and never handled" in done.output


def test_the_document_has_the_shape_that_machines_read() -> None:
    scenario = json.loads(drill("judge", str(CLEAN), "--json").output)["scenarios"][0]
    assert {"name", "cause", "seed", "verdict", *SIDES} <= scenario.keys()
    for side in SIDES:
        assert {"sent", "delivered", "lost", "duplicates_unexplained", "blind_s", "catch_up_s"} <= scenario[side].keys()
    assert scenario["verdict"] == "held"


def test_the_page_stands_alone_and_each_row_leads_to_its_timeline(tmp_path: Path) -> None:
    shutil.copy(CLEAN, tmp_path / "silence-1.jsonl")
    page = Path(drill("report", "--out", str(tmp_path)).output.strip()).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#)", page), "it needs something from elsewhere"
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page
    assert page.count("<svg viewBox") == 1 + 6
    assert "restante drill run silence --seed 1 --quick" in page


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("run", "nonsense"), "there is no scenario nonsense; restante drill list names all"),
        (("report", "--out", "/nonexistent"), "/nonexistent: there is no history (*.jsonl) here"),
    ],
)
def test_wrong_input_is_a_sentence(argv: tuple[str, ...], sentence: str) -> None:
    done = drill(*argv)
    assert isinstance(done.exception, InputError)
    assert sentence in str(done.exception)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "its first line is not the header"), ('{"version": 2}', "its first line is not the header"),
        ('{"version": 1}\nno', ":2: this is no JSON object"), ('{"version": 1}\n{"at": 1}', ":2: an event has at, side, who and what"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_history_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    done = drill("judge", str(path))
    assert isinstance(done.exception, InputError)
    assert sentence in str(done.exception)


def test_a_new_run_removes_the_histories_of_the_last_and_nobody_elses_files(tmp_path: Path) -> None:
    ours, others = (
        ("silence-1.jsonl", "silence-from-agent-12.jsonl"),
        ("mine.jsonl", "silence-notes.jsonl", "report.html"),
    )
    for name in (*ours, *others):
        (tmp_path / name).touch()
    _clear(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
