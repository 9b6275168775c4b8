"""Time something, and print it beside its goal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles


class Clock:
    """Seconds that a `with timed()` block took."""

    seconds = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    clock = Clock()
    start = time.perf_counter()
    yield clock
    clock.seconds = time.perf_counter() - start


def median_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The median of several runs: on a shared machine a single one is noise."""
    found = []
    for _ in range(repeats):
        with timed() as clock:
            work()
        found.append(clock.seconds)
    return median(found)


class Rounds:
    """Speeds of several things, taken in turns: what disturbs the machine for a while disturbs them all."""

    def __init__(self, work: Mapping[str, Callable[[], float]], rounds: int) -> None:
        self.found = [{name: each() for name, each in work.items()} for _ in range(rounds)]

    def speed(self, name: str) -> float:
        return median(turn[name] for turn in self.found)

    def ratio(self, name: str, peer: str) -> float:
        """The median of each round's own ratio."""
        return median(turn[name] / turn[peer] for turn in self.found)

    def against(self, name: str, peer: str, goal: float) -> None:
        ratio = self.ratio(name, peer)
        line(f"{name}: {self.speed(name):.0f}/s, against {peer}", f"{ratio:.2f} x", f"{goal:.2f} x", ratio >= goal)

    def compare(self, name: str, peer: str) -> None:
        """Without a goal."""
        show(f"{name}: {self.speed(name):.0f}/s, against {peer}", f"{self.ratio(name, peer):.2f} x")

    def show(self, name: str) -> None:
        show(name, f"{self.speed(name):.0f} /s")


def line(what: str, found: str, goal: str, reached: bool) -> None:
    print(f"{what:<58} {found:>16}   goal {goal:<22} {'reached' if reached else 'MISSED'}", flush=True)


def show(what: str, found: str) -> None:
    """What has no goal: a scale for what has."""
    print(f"{what:<58} {found:>16}", flush=True)


def delays(what: str, seconds: Sequence[float], median_ms: float | None = None, p99_ms: float | None = None) -> None:
    for name, found, goal in (
        ("median", median(seconds) * 1000, median_ms),
        ("p99", quantiles(seconds, n=100)[98] * 1000, p99_ms),
    ):
        if goal is None:
            show(f"{what}, {name}", f"{found:.1f} ms")
        else:
            line(f"{what}, {name}", f"{found:.1f} ms", f"{goal:.0f} ms", found <= goal)


def show_disk(folder: Path) -> None:
    """The median of an 8 kB write and its fdatasync on the disk that the stores are on."""
    found = []
    with (folder / "sync").open("wb") as file:
        for _ in range(200):
            with timed() as clock:
                file.write(bytes(8192))
                file.flush()
                os.fdatasync(file.fileno())
            found.append(clock.seconds)
    show("fdatasync of 8 kB, median", f"{median(found) * 1000:.2f} ms")
