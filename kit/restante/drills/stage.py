"""Where a scenario plays: agents that are connected, a load that can be turned on, faults, and one history of all of it.

Two kinds of hosts have a stage of their own: those of a lab (lab_stage.py), and staging hosts (staging/stage.py).
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from restante.drills import office
from restante.drills.console import Console
from restante.drills.history import Writer
from restante.drills.load import GRACE_S
from restante.drills.scenario import Scenario
from restante.drills.senders import Senders
from restante.errors import FoundError
from restante.lab.system import await_true

FOLLOW_S = 0.02
CONNECT_S = 60
# In which nothing moves: the senders' last tries, and the longest backoff of an agent, 60 s with its jitter, and then some.
STILL_S = GRACE_S + 100


class Stage(ABC):
    """`quick`: short clocks. `random` is the only source of chance, so a seed gives the same schedule again.

    `prefix` is put before what runs where the hosts are reached. `smtp`: side -> where its mail is handed in. `inbox` and `domain`: the
    inboxes are INBOX-1@DOMAIN and so on. `posts` are the kit's post hosts, `engine` is the unit of their PostgreSQL.
    """

    prefix: Sequence[str] = ()
    smtp: Mapping[str, Sequence[tuple[str, int]]]
    inbox: str
    domain: str
    engine: str

    def __init__(self, history: Writer, scenario: Scenario, seed: int, *, quick: bool) -> None:
        self.history, self.scenario, self.quick = history, scenario, quick
        self.sides, self.agents = scenario.sides, scenario.agents
        self.random = random.Random(seed)  # noqa: S311
        self.not_awaited: set[int] = set()  # dead letters, and what is named as gone
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._senders: Senders | None = None

    # -- what each kind of hosts does in its own way

    @property
    @abstractmethod
    def posts(self) -> Sequence[Console]: ...

    @abstractmethod
    def prepare(self, began: float) -> None:
        """All that must be there before an agent connects; what agents write from `began` on is followed."""

    @abstractmethod
    def on(self, tier: str, script: str) -> None:
        """A line of shell on every host of a tier, at the same time."""

    @abstractmethod
    def units(self, command: str, role: str) -> None:
        """systemctl `command` on the servers (mail), or the agents, of all sides."""

    @abstractmethod
    def broken_for(self, quick_s: float, long_s: float, name: str, tier: str, inject: str, heal: str) -> None:
        """A fault on every host of a tier, for exactly so long. Both are lines of shell."""

    def complaint(self) -> str:
        """What an agent that did not connect said last, where it can be heard."""
        return ""

    # -- inboxes

    @property
    def inboxes(self) -> list[str]:
        return [f"{self.inbox}-{number}@{self.domain}" for number in range(1, self.agents + 1)]

    # -- life

    def open(self) -> None:
        """Every agent connected, from a fresh start, and the senders ready."""
        began = time.monotonic()
        self.prepare(began)
        self.units("restart", "agent")
        for side in self.sides:
            if not self.history.wait(CONNECT_S, began, self.agents, side=side, what="up"):
                raise FoundError(f"drill: the {side} agents did not connect within {CONNECT_S} s{self.complaint()}")
        targets = json.dumps({side: self.smtp[side] for side in self.sides})
        argv = [sys.executable, "-m", "restante.drills.load", self.domain, self.inbox, targets]
        self._senders = Senders([*self.prefix, *argv], self.history)
        self.history.say("stage", "play")

    def follow(self, file: Path, began: float) -> None:
        """What an agent appends to a file becomes history."""
        thread = threading.Thread(target=self._tail, args=(file, began), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _tail(self, file: Path, began: float) -> None:
        """A host may be off meanwhile: its disk stays mounted, while its lab is up."""
        place, rest = 0, b""
        while not self._over.wait(FOLLOW_S):
            with contextlib.suppress(OSError), file.open("rb") as lines:
                lines.seek(place)
                chunk = lines.read()
                place += len(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    event = json.loads(line)
                    if event["at"] >= began:
                        self.history.add(event)

    # -- what a scenario does

    def send(self, kind: str = "mail") -> int:
        """One mail to every side; its number.

        `kind`: mail, slow (2 s of work), block (50 s in which its program does nothing else) or poison (no agent can handle it).
        """
        assert self._senders
        n = self._senders.send(kind, [office.local(inbox) for inbox in self.inboxes])
        if kind == "poison":
            self.not_awaited.add(n)
        return n

    @contextlib.contextmanager
    def mails(self, per_second: float) -> Iterator[None]:
        """A steady stream for as long as the block runs. Raises what ended it before."""
        enough, ended = threading.Event(), list[FoundError]()

        def stream() -> None:
            try:
                while not enough.wait(1 / per_second):
                    self.send()
            except FoundError as error:
                ended.append(error)

        thread = threading.Thread(target=stream, daemon=True)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()
        if ended:
            raise ended[0]

    def sleep(self, quick_s: float, long_s: float | None = None) -> None:
        """Let time pass, a random fifth more or less."""
        seconds = quick_s if self.quick or long_s is None else long_s
        time.sleep(seconds * self.random.uniform(0.8, 1.2))

    def hold(self, quick_s: float, long_s: float) -> None:
        """Let time pass, exactly: for what must be longer than a bound."""
        time.sleep(quick_s if self.quick else long_s)

    def strike(self, fault: str, **more: Any) -> float:
        """A fault begins now that nothing takes away; the caller brings it."""
        return self.history.say("nemesis", "inject", fault=fault, **more)

    def heal(self, fault: str) -> float:
        return self.history.say("nemesis", "heal", fault=fault)

    @contextlib.contextmanager
    def fault(self, name: str, inject: Callable[[], Any], heal: Callable[[], Any]) -> Iterator[None]:
        """For as long as the block runs."""
        self.strike(name)
        try:
            inject()
            self.history.say("nemesis", "injected", fault=name)
            yield
        finally:
            self.history.say("nemesis", "healing", fault=name)
            heal()
            self.heal(name)

    def expect(self, what: str, limit_s: float, **wanted: Any) -> None:
        """Go on when that was seen. Raises FoundError: the scenario did not happen as it is told."""
        if not self.history.wait(limit_s, what=what, **wanted):
            shown = " ".join(f"{key}={value}" for key, value in wanted.items())
            raise FoundError(f"drill: '{what}' {shown} was not seen within {limit_s:.0f} s")

    def until(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        """Go on when it is so. Raises FoundError: the scenario did not happen as it is told."""
        if not await_true(condition, limit_s):
            raise FoundError(f"drill: {what} did not come within {limit_s:.0f} s")

    # -- the end

    def close(self) -> None:
        """No more mail; wait until the kit's side has all that was accepted there, or nothing moves; look at what the office holds."""
        assert self._senders
        self._senders.finish()
        self._await_all()
        time.sleep(1)  # for what comes twice, which nothing announces
        for event in office.found(self.posts, self.inboxes, self.inbox):
            self.history.say("office", event.pop("what"), "kit", **event)
        self.history.say("stage", "end")

    def _await_all(self) -> None:
        """For as long as it moves: an hour's mail takes minutes to handle, on a slow machine more."""
        while True:
            moved = self._moved()  # before the question: what comes after it is seen below
            if self._settled() or not await_true(lambda: self._moved() > moved, STILL_S):  # noqa: B023 - called in this turn
                return

    def _answered(self, side: str) -> set[int]:
        taken, refused = (self.history.numbers(side, "load", what) for what in ("accepted", "refused"))
        return taken | refused

    def _moved(self) -> int:
        """Grows with every answer and every mail that is handled, and has an end."""
        answered = sum(len(self._answered(side)) for side in self.sides)
        return answered + len(self.history.numbers("kit", "agent", "handled"))

    def _settled(self) -> bool:
        """Each mail has its answer on every side, and what the kit accepted was handled, or need not be waited for."""
        assert self._senders
        if any(len(self._answered(side)) < self._senders.sent for side in self.sides):
            return False
        handled = self.history.numbers("kit", "agent", "handled")
        return self.history.numbers("kit", "load", "accepted") <= handled | self.not_awaited

    def clear(self) -> None:
        """Nothing that was started here goes on."""
        self._over.set()
        if self._senders:
            self._senders.stop()
        for thread in self._threads:
            thread.join(5)
