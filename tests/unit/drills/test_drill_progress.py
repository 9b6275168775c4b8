"""What a run says while it runs: to a terminal a line that lives, to a file or a pipe whole lines alone."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forgery import CLEAN

from restante.drills.run import Order
from restante.drills.scenarios import SCENARIOS

COLUMNS = 50
PROGRAM = """
import sys
from pathlib import Path
from restante.cli.drill_progress import Progress
from restante.drills.run import Order
from restante.drills.scenarios import SCENARIOS
with Progress(3) as progress:
    for line in sys.stdin:
        what, number = line.split()
        getattr(progress, what)(Order(SCENARIOS[int(number)], 1, True, Path(sys.argv[1])))
"""


class Screen:
    """A terminal that knows what a drill writes to one: lines, and a line written over."""

    def __init__(self) -> None:
        self.master, self.end = os.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        self._written = ""

    def lines(self) -> list[str]:
        return [row.rpartition("\r\x1b[K")[2] for row in self._written.split("\r\n")]

    def shows(self, pattern: str, limit_s: float = 20) -> bool:
        """Whether a line comes to look like that."""
        deadline = time.monotonic() + limit_s
        while not any(re.fullmatch(pattern, line) for line in self.lines()):
            if not select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return False
            self._read()
        return True

    def rest(self) -> list[str]:
        """What is there when nobody writes any more."""
        while select.select([self.master], [], [], 0)[0]:
            self._read()
        return self.lines()

    def _read(self) -> None:
        self._written += os.read(self.master, 4096).decode()


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    os.close(made.master)
    os.close(made.end)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Starts a run that does what it is told, line by line; its standard error goes where the argument says."""
    for scenario in SCENARIOS[:3]:
        shutil.copy(CLEAN, Order(scenario, 1, True, tmp_path).path)
    started: list[subprocess.Popen[str]] = []

    def start(error: int) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        started.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=error, text=True, bufsize=1))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(20)


def tell(process: subprocess.Popen[str], *orders: str) -> None:
    assert process.stdin
    process.stdin.writelines(f"{order}\n" for order in orders)


def test_a_terminal_shows_what_plays_and_for_how_long(
    run: Callable[..., subprocess.Popen[str]], screen: Screen
) -> None:
    process = run(screen.end)
    tell(process, "plays 0")
    assert screen.shows(r"playing: nat-forgets-1 \d+ s")
    tell(process, "plays 1")
    assert screen.shows(r"playing: nat-forgets-1 \d+ s, nat-resets-1 \d+ s")
    assert len(screen.lines()) == 1, "it is the same line"


def test_the_live_line_is_never_longer_than_the_terminal_is_wide(
    run: Callable[..., subprocess.Popen[str]], screen: Screen
) -> None:
    """A longer one would wrap, and the next would be written over its second half alone."""
    tell(run(screen.end), "plays 0", "plays 1", "plays 2")
    assert screen.shows(r"playing: nat-forgets-1 \d+ s, nat-resets-1 \d+ s, s\w*")
    assert len(screen.lines()[-1]) == COLUMNS - 1


def test_what_is_over_gets_a_line_of_its_own_and_leaves_the_live_one(
    run: Callable[..., subprocess.Popen[str]], screen: Screen
) -> None:
    process = run(screen.end)
    tell(process, "plays 0", "plays 1")
    assert screen.shows(r"playing: nat-forgets-1 \d+ s, nat-resets-1 \d+ s")
    tell(process, "over 0")
    assert screen.shows(r"playing: nat-resets-1 \d+ s")
    first, *_ = screen.lines()
    assert re.fullmatch(r" *\d+\.\d s  \[1/3\] nat-forgets-1: held \(\d+ s\)", first)


def test_nothing_of_the_live_line_is_left_in_the_end(run: Callable[..., subprocess.Popen[str]], screen: Screen) -> None:
    process = run(screen.end)
    tell(process, "plays 0")
    assert screen.shows(r"playing: .*")
    process.communicate(timeout=20)
    assert screen.rest() == [""]


def test_a_pipe_gets_whole_lines_and_nothing_else(run: Callable[..., subprocess.Popen[str]]) -> None:
    process = run(subprocess.PIPE)
    tell(process, "plays 0", "over 0")
    _, said = process.communicate(timeout=20)
    lines = r" +\d+\.\d s  nat-forgets-1: plays\n +\d+\.\d s  \[1/3\] nat-forgets-1: held \(\d+ s\)\n"
    assert re.fullmatch(lines, said), said
