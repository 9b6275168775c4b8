"""Scenarios side by side on labs that are only counted: what is booted is taken down, and nothing is booted once a run is given up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.drills import lab_run
from restante.drills.lab_run import Play
from restante.drills.run import Order
from restante.drills.scenario import Scenario
from restante.errors import FoundError

JOBS = 3


class Labs:
    """What happened to labs, in its order."""

    def __init__(self) -> None:
        self.happened: list[tuple[str, str]] = []
        self.gone: dict[str, threading.Event] = {}

    def booted(self) -> list[str]:
        return [name for what, name in self.happened if what == "up"]

    def up(self) -> set[str]:
        last = {name: what for what, name in self.happened}
        return {name for name, what in last.items() if what == "up"}


class Lab:
    def __init__(self, labs: Labs, name: str) -> None:
        self._labs, self.name = labs, name
        self.gone = labs.gone.setdefault(name, threading.Event())

    def lay_over(self, *_: Any, **__: Any) -> None:
        self._labs.happened.append(("up", self.name))

    def down(self) -> None:
        self._labs.happened.append(("down", self.name))
        self.gone.set()


class Fleet:
    labs: Labs
    lab, authority = None, Path()

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind

    def deploy(self, _: Any) -> None:
        Lab(self.labs, self.kind).lay_over()

    def down(self) -> None:
        Lab(self.labs, self.kind).down()

    def scene(self, name: str) -> Lab:
        return Lab(self.labs, name)

    def names(self, _: Any) -> dict[str, str]:
        return {}


class Stage:
    def __init__(self, lab: Lab, *_: Any, **__: Any) -> None:
        self.lab = lab

    def open(self) -> None: ...

    def close(self) -> None: ...

    def clear(self) -> None: ...


class Watcher:
    def __init__(self) -> None:
        self.finished: list[str] = []

    def said(self, text: str) -> None: ...

    def plays(self, order: Order) -> None: ...

    def over(self, order: Order) -> None:
        self.finished.append(order.name)


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> Labs:
    made = Labs()
    monkeypatch.setattr(Fleet, "labs", made, raising=False)
    monkeypatch.setattr(lab_run, "Fleet", Fleet)
    monkeypatch.setattr(lab_run, "LabStage", Stage)
    return made


def orders(folder: Path, plays: Any, count: int = 10) -> list[Order]:
    return [Order(Scenario(f"scenario-{n}", 1, "", plays), 1, True, folder) for n in range(count)]


def all_workers_end() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("drill-"):
            thread.join(20)
            assert not thread.is_alive()


def test_every_order_is_played_and_every_lab_taken_down(labs: Labs, tmp_path: Path) -> None:
    watcher = Watcher()
    asked = orders(tmp_path, lambda _: None)
    Play(asked, JOBS, watcher).run(tmp_path)
    assert sorted(watcher.finished) == sorted(order.name for order in asked)
    assert sorted(labs.booted()) == sorted(["sqlite", *(order.name for order in asked)])
    assert not labs.up()


def test_a_scenario_that_cannot_be_played_ends_no_other(labs: Labs, tmp_path: Path) -> None:
    def refuses(_: Stage) -> None:
        raise FoundError("the router refuses its rules")

    watcher = Watcher()
    Play(orders(tmp_path, refuses), JOBS, watcher).run(tmp_path)
    assert len(watcher.finished) == 10
    assert not labs.up()


@pytest.fixture(autouse=True)
def _hears_interrupts() -> Iterator[None]:
    """What a script starts in the background has SIGINT ignored; the command itself listens all the same (cli/drill.py)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    """Ctrl-C, which the main thread hears."""
    ident = threading.main_thread().ident
    assert ident
    signal.pthread_kill(ident, signal.SIGINT)


def test_after_an_interrupt_no_lab_is_booted(labs: Labs, tmp_path: Path) -> None:
    """What plays ends as it does when its lab is taken away, and its worker looks for the next order."""
    all_play = threading.Barrier(JOBS, interrupt)

    def plays(stage: Stage) -> None:
        all_play.wait(20)
        assert stage.lab.gone.wait(20)
        raise FoundError("the lab is not up")

    with pytest.raises(KeyboardInterrupt):
        Play(orders(tmp_path, plays), JOBS, Watcher()).run(tmp_path)
    all_workers_end()
    assert sorted(labs.booted()) == ["scenario-0-1", "scenario-1-1", "scenario-2-1", "sqlite"]
    assert not labs.up()
    assert len(list(tmp_path.glob("*.jsonl"))) == JOBS, "a history began of what was not played"


def test_a_lab_that_boots_at_the_interrupt_is_taken_down_after_it(
    labs: Labs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play, all_there = Play(orders(tmp_path, lambda _: None, JOBS), JOBS, Watcher()), threading.Barrier(JOBS)

    def scene(fleet: Fleet, name: str) -> Lab:
        all_there.wait(20)
        return Lab(fleet.labs, name)

    def boots(lab: Lab, *_: Any, **__: Any) -> None:
        if lab.name != "sqlite" and not play._over.is_set():
            interrupt()
            assert play._over.wait(20)
            labs.gone["sqlite"].wait(0.2)  # must not come: the disks that it boots from would be gone
        labs.happened.append(("up", lab.name))

    monkeypatch.setattr(Fleet, "scene", scene)
    monkeypatch.setattr(Lab, "lay_over", boots)
    with pytest.raises(KeyboardInterrupt):
        play.run(tmp_path)
    assert (len(labs.booted()), labs.up(), labs.happened[-1]) == (2, set(), ("down", "sqlite"))
    all_workers_end()
    assert (len(labs.booted()), labs.up()) == (2, set()), "a lab was booted that nobody takes down"
