"""Time something, and print it beside its goal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median


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


def line(what: str, found: str, goal: str, reached: bool) -> None:
    print(f"{what:<58} {found:>16}   goal {goal:<22} {'reached' if reached else 'MISSED'}", flush=True)
