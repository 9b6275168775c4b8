"""Plays scenarios on hosts of labs, several at a time. Every host is gone in the end, however it ends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from restante.drills.fleet import Fleet
from restante.drills.history import Writer
from restante.drills.lab_stage import LabStage
from restante.drills.run import Order, Watcher, perform
from restante.lab.lab import Lab


class GivenUpError(Exception):
    """The run is over, and what has not begun does not begin. For nobody: its thread ends of it."""


@dataclass
class Play:
    """All orders, `jobs` at a time. Threads are daemons: when the run is given up, what they act on is taken away, not waited for."""

    orders: Sequence[Order]
    jobs: int
    watcher: Watcher
    _labs: set[Lab] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _boots: threading.Lock = field(default_factory=threading.Lock)  # one at a time, as Lab has them anyhow

    def run(self, work: Path) -> None:
        """`work` is a folder for the specs."""
        with fleets(work, {order.scenario.fleet for order in self.orders}, self.watcher) as known:
            try:
                self._all(known)
            finally:
                self._end()

    def _end(self) -> None:
        """What boots at this moment does so to its end first, and nothing boots afterwards: nobody would take it away."""
        self._over.set()
        with self._boots, ExitStack() as each:
            for lab in list(self._labs):
                each.callback(lab.down)

    def _all(self, known: dict[str, Fleet]) -> None:
        waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for order in self.orders:
            waiting.put(order)

        def work() -> None:
            while not self._over.is_set():
                try:
                    order = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    self._one(order, known[order.scenario.fleet])
                    done.put(None)
                except BaseException as error:  # raised again in the thread that waits
                    done.put(error)

        for number in range(self.jobs):
            threading.Thread(target=work, name=f"drill-{number}", daemon=True).start()
        for _ in self.orders:
            if error := done.get():
                raise error

    def _one(self, order: Order, fleet: Fleet) -> None:
        perform(order, self.watcher, lambda history: self._stage(order, fleet, history))

    @contextmanager
    def _stage(self, order: Order, fleet: Fleet, history: Writer) -> Iterator[LabStage]:
        lab = fleet.scene(order.name)
        try:
            self._boot(lab, order, fleet)
            stage = LabStage(lab, history, order.scenario, fleet.authority, order.seed, quick=order.quick)
            try:
                stage.open()
                yield stage
            finally:
                stage.clear()
        finally:
            lab.down()
            self._labs.discard(lab)

    def _boot(self, lab: Lab, order: Order, fleet: Fleet) -> None:
        machines = order.scenario.machines
        with self._boots:
            if self._over.is_set():
                raise GivenUpError
            self._labs.add(lab)
            lab.lay_over(fleet.lab, machines, fleet.names(machines), bound=True)


@contextmanager
def fleets(work: Path, kinds: set[str], watcher: Watcher) -> Iterator[dict[str, Fleet]]:
    """Deployed, side by side; gone in the end, each of them though another would not go."""
    made = {}
    for kind in sorted(kinds):
        (work / kind).mkdir()
        made[kind] = Fleet(work / kind, kind)
    with ExitStack() as end:
        for fleet in made.values():
            end.callback(fleet.down)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda fleet: fleet.deploy(watcher.said), made.values()))
        yield made
