"""The folder of backups. Each is a file or a folder, and is there once NAME.json beside it describes it: written last, removed first."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from restante.errors import FoundError, InputError


@dataclass(frozen=True)
class Backup:
    """`made_at`: it holds all that was committed by then, in Unix seconds."""

    file: str
    made_at: float
    size: int


@dataclass(frozen=True)
class Copy(Backup):
    """Of a SQLite store."""

    sha256: str
    messages: int


@dataclass(frozen=True)
class Base(Backup):
    """Of PostgreSQL: recovery starts at `segment`, and goes on in the log of `line`."""

    line: int
    segment: str


B = TypeVar("B", bound=Backup)
KINDS: dict[str, type[Copy | Base]] = {"sqlite": Copy, "postgresql": Base}


def name(at: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at)) + f"-{int(at * 1000) % 1000:03d}"


def describe(directory: Path, made: Copy | Base) -> None:
    engine = next(engine for engine, kind in KINDS.items() if isinstance(made, kind))
    part = directory / f".{made.file}.json.part"
    part.write_text(json.dumps({"engine": engine, **asdict(made)}, indent=2) + "\n")
    sync(part)
    part.rename(directory / f"{made.file}.json")
    sync(directory)


def described(path: Path) -> Copy | Base:
    """What NAME.json says of the backup at `path`."""
    try:
        found = json.loads(path.with_name(f"{path.name}.json").read_text())
        backup = KINDS[found.pop("engine")](**found)
    except (OSError, ValueError, KeyError, TypeError):
        backup = None
    if backup is None or not path.exists():
        raise InputError(f"{path} is no backup: `restante backup list` shows those that are, each with its NAME.json")
    return backup


def listed(directory: Path) -> list[Copy | Base]:
    """The newest first."""
    found = []
    for path in directory.glob("*.json"):
        with contextlib.suppress(InputError):
            found.append(described(path.with_suffix("")))
    return sorted(found, key=lambda each: -each.made_at)


def chosen(directory: Path, to: float | None = None) -> Copy | Base:
    """The newest that holds nothing from after `to`."""
    found = listed(directory)
    fits = [each for each in found if to is None or each.made_at <= to]
    if not found:
        raise InputError(f"there is no backup in {directory}; `restante backup now` makes one")
    if not fits:
        raise InputError(
            f"no backup in {directory} is that old: the oldest is {found[-1].file}; a restore goes no further back"
        )
    return fits[0]


def superfluous(found: Sequence[B], keep_s: float, now: float) -> list[B]:
    """All but the newer ones and the first of the older: a restore to the moment `keep_s` ago starts from that one."""
    older = [each for each in sorted(found, key=lambda each: -each.made_at) if each.made_at <= now - keep_s]
    return older[1:]


def remove(directory: Path, gone: Backup) -> None:
    (directory / f"{gone.file}.json").unlink()
    _delete(directory / gone.file)


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One backup at a time; what an interrupted one left is taken away."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in directory.glob(".*.part"):
            _delete(left)
        yield
    except BlockingIOError:
        raise FoundError(
            f"another backup is being made in {directory} at this moment; try again when it is done"
        ) from None
    finally:
        os.close(lock)


def room(directory: Path, need: int, floor: int) -> None:
    """A backup must not take the space that mail needs: on one disk, the store would refuse it."""
    free = shutil.disk_usage(directory).free
    if free < need + floor:
        raise FoundError(
            f"{free >> 20} MiB are free in {directory}; a backup needs about {need >> 20} MiB and {floor >> 20} MiB must stay free: "
            "give the folder a disk of its own, or lower store.backup.keep in the spec"
        )


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
