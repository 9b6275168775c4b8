"""What was seen in one run: a file of events, one JSON object a line, which is only ever appended to.

The first line says what was played; `restores`: the fault is healed by a restore of the store. Each other line has `at` (CLOCK_MONOTONIC
in seconds; one kernel runs every host of a lab, so all sides share it), `side` (naive, common, kit, or all), `who` and `what`; `n` is the
number of a mail, `inbox` the agent's.

| who | what | meaning |
|---|---|---|
| load | sent, again | the first try to hand a mail to the side's SMTP server, and each further one |
| load | accepted, unknown, refused | answered 250; ended without an answer after its data; given up |
| nemesis | inject, heal | a fault begins, and is taken away; one that cannot be taken away has no heal |
| nemesis | injected | the fault is there, at the latest: on hosts that are reached over ssh that takes a moment |
| nemesis | healing | it begins to be taken away: what had been held up may come from now on |
| agent | start, up, down | its process began; it has a connection; it knows that it has none |
| agent | away, back | it knows on its connection that the store can't be asked; that it can again |
| agent | signal, read, unreadable | it was told of a mail; could read it at once; could not though it was told |
| agent | handling, handled | a mail is in its hands; its work is done. `attempt`, `repeats` and `epoch` as the post office says |
| office | stored, acknowledged, dead, named | as found in the end; `named`: the ledger says that it is gone |
| stage | play, end | the load begins; all that was awaited has come, or the time for it is over |
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restante.errors import InputError

Event = Mapping[str, Any]
VERSION = 1


@dataclass(frozen=True)
class History:
    """`header` is the first line; `events` are in the order of their time."""

    header: Mapping[str, Any]
    events: tuple[Event, ...]

    def of(self, side: str) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event["side"] in {side, "all"})


class Writer:
    """From any thread. `wait` lets a scenario go on when something was seen, rather than after a time."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._file = path.open("w", buffering=1)
        self._moved = threading.Condition()
        self._events: list[Event] = []
        self._numbers: dict[tuple[str, str, str], set[int]] = defaultdict(set)
        self._file.write(f"{json.dumps({'version': VERSION, **header})}\n")

    def add(self, event: Event) -> None:
        with self._moved:
            if not self._file.closed:
                self._events.append(event)
                if "n" in event:
                    self._numbers[event["side"], event["who"], event["what"]].add(event["n"])
                self._file.write(f"{json.dumps(event)}\n")
                self._moved.notify_all()

    def say(self, who: str, what: str, side: str = "all", **more: Any) -> float:
        """One of ours, as of now; when that was."""
        now = time.monotonic()
        self.add({"at": now, "side": side, "who": who, "what": what, **more})
        return now

    def count(self, after: float = 0.0, **wanted: Any) -> int:
        with self._moved:
            return sum(1 for _ in self._matching(after, wanted))

    def numbers(self, side: str, who: str, what: str) -> set[int]:
        """Of the mails in such events. Kept as they come: an hour's mail is looked through again and again."""
        with self._moved:
            return set(self._numbers[side, who, what])

    def wait(self, limit_s: float, after: float = 0.0, times: int = 1, **wanted: Any) -> bool:
        """Whether such events came, so many, after a time, within the limit."""
        with self._moved:
            return self._moved.wait_for(lambda: sum(1 for _ in self._matching(after, wanted)) >= times, limit_s)

    def _matching(self, after: float, wanted: Mapping[str, Any]) -> Iterator[Event]:
        return (e for e in self._events if e["at"] > after and wanted.items() <= e.items())

    def close(self) -> None:
        with self._moved:
            self._file.close()


def read(path: Path) -> History:
    """Raises InputError that names the line which is no event."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is no history that can be read: {error}") from None
    found = [_parsed(path, number, line) for number, line in enumerate(lines, 1)]
    if not found or found[0].get("version") != VERSION:
        raise InputError(f"{path}: its first line is not the header of a history of version {VERSION}")
    for number, event in enumerate(found[1:], 2):
        if not {"at", "side", "who", "what"} <= event.keys():
            raise InputError(f"{path}:{number}: an event has at, side, who and what; this one has {', '.join(event)}")
    return History(found[0], tuple(sorted(found[1:], key=lambda event: event["at"])))


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path}:{number}: this is no JSON object; a history has one a line")
    return found
