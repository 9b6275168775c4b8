"""Plays scenarios, several at a time, and leaves one history of each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from restante import __version__
from restante.drills.fleet import Fleet
from restante.drills.history import Writer
from restante.drills.lab_stage import LabStage
from restante.drills.scenario import Scenario
from restante.drills.stage import Stage
from restante.errors import RestanteError
from restante.lab.lab import Lab


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
            "quick": self.quick, "bound_s": scenario.bound_s, "sides": list(scenario.sides), "command": command,
        }  # fmt: skip


class Watcher(Protocol):
    """Who is told how it goes, from any thread."""

    def said(self, text: str) -> None:
        """Of the hosts, before the first scenario."""

    def plays(self, order: Order) -> None:
        """Its agents are connected, its load begins."""

    def over(self, order: Order) -> None:
        """Its history is whole, or says why it is not."""


@dataclass
class Play:
    """All orders, `jobs` at a time. Threads are daemons: when the run is given up, what they act on is taken away, not waited for."""

    orders: Sequence[Order]
    jobs: int
    watcher: Watcher
    _labs: set[Lab] = field(default_factory=set)

    def run(self, work: Path) -> None:
        """`work` is a folder for the specs. Every host is gone in the end, however it ends."""
        with fleets(work, {order.scenario.fleet for order in self.orders}, self.watcher) as known:
            try:
                self._all(known)
            finally:
                for lab in list(self._labs):
                    lab.down()

    def _all(self, known: dict[str, Fleet]) -> None:
        waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for order in self.orders:
            waiting.put(order)

        def work() -> None:
            while not waiting.empty():
                try:
                    order = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    self._one(order, known[order.scenario.fleet])
                    done.put(None)
                except BaseException as error:  # raised again in the thread that waits
                    done.put(error)

        for _ in range(self.jobs):
            threading.Thread(target=work, daemon=True).start()
        for _ in self.orders:
            if error := done.get():
                raise error

    def _one(self, order: Order, fleet: Fleet) -> None:
        perform(order, self.watcher, lambda history: self._stage(order, fleet, history))

    @contextmanager
    def _stage(self, order: Order, fleet: Fleet, history: Writer) -> Iterator[LabStage]:
        lab = fleet.scene(order.name)
        self._labs.add(lab)
        try:
            lab.lay_over(fleet.lab, order.scenario.machines, fleet.names(order.scenario.machines), bound=True)
            stage = LabStage(lab, history, order.scenario, fleet.authority, order.seed, quick=order.quick)
            try:
                stage.open()
                yield stage
            finally:
                stage.clear()
        finally:
            lab.down()
            self._labs.discard(lab)


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


@contextmanager
def fleets(work: Path, kinds: set[str], watcher: Watcher) -> Iterator[dict[str, Fleet]]:
    """Deployed, side by side; gone in the end."""
    made = {}
    for kind in sorted(kinds):
        (work / kind).mkdir()
        made[kind] = Fleet(work / kind, kind)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda fleet: fleet.deploy(watcher.said), made.values()))
        yield made
    finally:
        for fleet in made.values():
            fleet.down()
