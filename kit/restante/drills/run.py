"""One scenario with one seed, played on whatever stage it is given, and its history."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from restante import __version__
from restante.drills.history import Writer
from restante.drills.scenario import Scenario
from restante.drills.stage import Stage
from restante.errors import RestanteError


@dataclass(frozen=True)
class Order:
    """One scenario with one seed, and where its history goes. `where` is what the command says of the hosts."""

    scenario: Scenario
    seed: int
    quick: bool
    folder: Path
    where: str = ""

    @property
    def name(self) -> str:
        return f"{self.scenario.name}-{self.seed}"

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    def header(self) -> dict[str, object]:
        scenario = self.scenario
        command = f"restante drill run {scenario.name} --seed {self.seed}{' --quick' if self.quick else ''}{self.where}"
        return {
            "restante": __version__, "scenario": scenario.name, "cause": scenario.cause, "about": scenario.about, "seed": self.seed,
            "quick": self.quick, "bound_s": scenario.bound_s, "sides": list(scenario.sides),
            "restores": scenario.restores, "command": command,
        }  # fmt: skip


class Watcher(Protocol):
    """Who is told how it goes, from any thread."""

    def said(self, text: str) -> None:
        """Of the hosts, before the first scenario."""

    def plays(self, order: Order) -> None:
        """Its agents are connected, its load begins."""

    def over(self, order: Order) -> None:
        """Its history is whole, or says why it is not."""


def perform(order: Order, watcher: Watcher, opened: Callable[[Writer], AbstractContextManager[Stage]]) -> None:
    """One scenario on the stage that `opened` gives. What keeps it from being played becomes part of its history."""
    history = Writer(order.path, order.header())
    try:
        with opened(history) as stage:
            watcher.plays(order)
            order.scenario.play(stage)
            stage.close()
    except RestanteError as error:
        history.say("stage", "failed", why=str(error))
    finally:
        history.close()
    watcher.over(order)
