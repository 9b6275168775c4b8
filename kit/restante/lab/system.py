"""Running a system tool and telling the operator what it said; locks; waiting for an event with a deadline."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from restante.errors import FoundError, InputError

_FLOCK = "hhqqi4x"  # struct flock of 64 bit Linux: type, whence, start, len, pid (fcntl(2))


def run(argv: Sequence[str], *, stdin: str = "", timeout: float = 60, env: Mapping[str, str] | None = None) -> str:
    """The tool's standard output. Its failure becomes a sentence with its own last words."""
    shown = f"`{' '.join(argv)[:300]}`"
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    except FileNotFoundError:
        raise FoundError(f"lab: the command '{argv[0]}' is not installed") from None
    except subprocess.TimeoutExpired:
        raise FoundError(f"lab: {shown} was still running after {timeout:.0f} s and was stopped") from None
    if done.returncode:
        raise FoundError(f"lab: {shown} ended with {done.returncode}:\n{last_words(done.stderr or done.stdout)}")
    return done.stdout


def last_words(text: str, lines: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-lines:]) or "it said nothing"


def await_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def hold(path: Path) -> None:
    """Lock `path` for the life of this process; the kernel lets go however the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(path: Path) -> int | None:
    """Who holds `path`, numbered as our pid namespace does. It cannot be stale or another's, as a pid in a file can."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise InputError(f"lab: {path.parent} belongs to another user; run this with sudo, or as that user") from None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else int(pid)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time in here, the others wait. `path` may be a directory, which leaves no lock file behind."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
