"""No 250 before its fdatasync, by a system-call trace: a power cut of the lab keeps the page cache, and would prove nothing.

And a clock that jumps: libfaketime under the whole process.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from office import Office, process
from test_crash import hand_over

MAILS = 12
TRACED = "write,pwrite64,writev,sendto,sendmsg,fsync,fdatasync"
# Runs office.py after a change that no one should make.
WEAKENED = """
import runpy, sys
from restante.server.store import sqlite
sqlite.SETTINGS["synchronous"] = "off"
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# strace -f -y: PID call(FD<path>, ...; another thread's line may come between a call's two halves.
_CALL = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\(\d+<(?P<file>[^>]*)>")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>")


@dataclass
class Trace:
    """Line numbers: of the writes of each mail to the log of the store, of each sync of it (start, end), of each reply.

    A mail is written again, in time, with the page that it shares with later ones.
    """

    written: dict[int, list[int]] = field(default_factory=dict)
    synced: list[tuple[int, int]] = field(default_factory=list)
    replied: list[int] = field(default_factory=list)

    def early(self) -> Iterator[int]:
        """Mails that were answered 250 while no sync had begun after their write and ended. Mails came one after the other."""
        for number, replied in enumerate(self.replied):
            written = max((at for at in self.written.get(number, ()) if at < replied), default=replied)
            if not any(written < start and end < replied for start, end in self.synced):
                yield number


def read_trace(lines: list[str]) -> Trace:
    found, begun = Trace(), dict[str, int]()
    for at, line in enumerate(lines):
        if (match := _RESUMED.match(line)) and match["pid"] in begun:
            found.synced.append((begun.pop(match["pid"]), at))
        if not (match := _CALL.match(line)):
            continue
        if match["call"] in {"fsync", "fdatasync"} and match["file"].endswith("-wal"):
            if "unfinished" in line:
                begun[match["pid"]] = at
            else:
                found.synced.append((at, at))
        elif match["file"].endswith("-wal"):
            for number in re.findall(r"Subject: (\d+)\\r", line):
                found.written.setdefault(int(number), []).append(at)
        elif '"250 2.0.0' in line and "Stored" in line:
            found.replied.append(at)
    return found


def trace_of(folder: Path, *before: str) -> Trace:
    """Of a server to which mails were handed over."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed; make test-lab installs it")
    out = folder / "trace"
    strace = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace={TRACED}", "-o", str(out), *before]
    with process(folder / "data", *strace) as (server, office):
        assert all(hand_over(office.lmtp_port, number) for number in range(MAILS))
        traced = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
        os.kill(int(traced), signal.SIGKILL)  # strace itself lets go of its program, which would stay
        server.wait(20)
    return read_trace(out.read_text(errors="replace").splitlines())


@pytest.mark.lab
def test_no_250_leaves_before_the_disk_has_the_mail(tmp_path: Path) -> None:
    trace = trace_of(tmp_path)
    assert sorted(trace.written) == list(range(MAILS))
    assert len(trace.replied) == MAILS
    assert list(trace.early()) == []


@pytest.mark.lab
def test_the_trace_shows_a_store_that_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """The same with synchronous = OFF: what finds nothing here would find nothing above."""
    trace = trace_of(tmp_path, sys.executable, "-c", WEAKENED)
    assert len(trace.replied) == MAILS
    assert len(list(trace.early())) == MAILS


WRITE = r'7 pwrite64(9</d/store.sqlite-wal>, "\0Subject: 0\r\n\r\nxx", 4096, 32) = 4096'
SYNC = "7 fdatasync(9</d/store.sqlite-wal>) = 0"
BEGUN, ENDED = "7 fdatasync(9</d/store.sqlite-wal> <unfinished ...>", "7 <... fdatasync resumed>) = 0"
OTHER = "7 fdatasync(8</d/store.sqlite>) = 0"
REPLY = r'6 sendto(12<socket:[5]>, "250 2.0.0 Stored\r\n", 18, 0, NULL, 0) = 18'


@pytest.mark.parametrize(
    ("lines", "early"),
    [
        ([WRITE, SYNC, REPLY], []),
        ([WRITE, BEGUN, ENDED, REPLY], []),
        ([WRITE, REPLY, SYNC], [0]),
        ([SYNC, WRITE, REPLY], [0]),
        ([BEGUN, WRITE, ENDED, REPLY], [0]),
        ([WRITE, BEGUN, REPLY, ENDED], [0]),
        ([WRITE, OTHER, REPLY], [0]),
        ([REPLY, WRITE, SYNC], [0]),
        ([WRITE, SYNC, REPLY, WRITE, SYNC], []),
    ],
)
def test_how_a_trace_is_read(lines: list[str], early: list[int]) -> None:
    assert list(read_trace(lines).early()) == early


def jumping(folder: Path, offset: str) -> list[str]:
    """A command that runs a program whose wall clock is off by what the file `offset` says; its ticks are the true ones."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if not library:
        pytest.skip("libfaketime is not installed; make test-lab installs it")
    jump(folder, offset)
    settings = {"FAKETIME_TIMESTAMP_FILE": folder / "offset", "FAKETIME_NO_CACHE": 1, "FAKETIME_DONT_FAKE_MONOTONIC": 1}
    return ["env", f"LD_PRELOAD={library}", *(f"{name}={value}" for name, value in settings.items())]


def jump(folder: Path, offset: str) -> None:
    (folder / "new").write_text(f"{offset}\n")
    (folder / "new").rename(folder / "offset")


def behind(office: Office) -> float:
    date = office.call("GET", "/healthz").headers["date"]
    return time.time() - parsedate_to_datetime(date).timestamp()


def await_true(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.mark.lab
def test_a_clock_that_jumps_back_an_hour_holds_no_lease_and_loses_no_mail(tmp_path: Path) -> None:
    with process(tmp_path / "data", *jumping(tmp_path, "+0")) as (server, office):
        office.send("before")
        first = office.receive(visibility_timeout=2)["items"]
        jump(tmp_path, "-1h")
        office.send("after")
        await_true(lambda: behind(office) > 3500, "the server's own Date shows the jump")
        found = (
            office.receive(visibility_timeout=2)["items"]
            + office.receive(wait_seconds=10, visibility_timeout=2)["items"]
        )
        assert [(item["message"]["subject"], item["attempt"]) for item in found] == [("after", 1), ("before", 2)]
        assert office.ack(first[0]["receipt_handle"]) == ["expired"]
        assert office.ack(found[0]["receipt_handle"]) == ["ok"]
        os.kill(server.pid, signal.SIGKILL)
    with process(tmp_path / "data", *jumping(tmp_path, "-1h")) as (_, office):
        again = office.receive(wait_seconds=25)["items"]
        assert [(item["message"]["subject"], item["attempt"]) for item in again] == [("before", 3)]
        assert office.ack(again[0]["receipt_handle"]) == ["ok"]
