"""The log (WAL) of PostgreSQL beside its base backups, one folder for each line: a stretch of log without a gap or a branch.

A line ends when its cluster is restored, which changes history, or when the slot that kept the log for us is gone. Then the next
begins, and needs a base backup of its own; so a log that does not belong to a backup is never replayed on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from restante.server.backup.cluster import Cluster, run
from restante.server.backup.folder import Base, listed, sync

PART = ".partial"
SEGMENT_BYTES = 16 << 20
SEGMENTS = 0x100  # in one file of the log's middle number, at PostgreSQL's own segment size of 16 MiB


def folder(directory: Path, line: int) -> Path:
    return directory / "wal" / f"{line:04d}"


def lines(directory: Path) -> list[int]:
    return sorted(int(path.name) for path in (directory / "wal").glob("[0-9]" * 4))


def current(directory: Path) -> int:
    """0 before the first."""
    return max(lines(directory), default=0)


def begin(directory: Path) -> int:
    last = current(directory)
    used = {each.line for each in listed(directory) if isinstance(each, Base)}
    if last and last not in used and not segments(directory, last):
        return last  # a start that was interrupted left it
    line = last + 1
    folder(directory, line).mkdir(parents=True, mode=0o700)
    sync(directory / "wal")
    return line


def segments(directory: Path, line: int) -> dict[str, Path]:
    """Name -> file; the one that is still written is among them, under its name to be."""
    found = folder(directory, line).glob("[0-9A-F]" * 24 + "*")
    return {path.name.removesuffix(PART): path for path in sorted(found)}


def goes_on(directory: Path, line: int, position: str) -> bool:
    """Whether log that is kept from `position` on (as in 0/5192500) follows on the line without a gap.

    A member whose Patroni keeps no slot while it follows (3.0, Debian 12) makes one when it comes to lead: what was before may be gone.
    """
    found = segments(directory, line)
    if not found:
        return True
    last, path = max(found.items(), key=lambda each: _number(each[0]))
    high, low = (int(part, 16) for part in position.split("/"))
    return high * SEGMENTS + low // SEGMENT_BYTES <= _number(last) + (path.suffix != PART)


def gap(base: Path, made: Base) -> str | None:
    """The first segment that is missing between the base backup's start and the end of its line."""
    own = {path.name for path in (base / "pg_wal").iterdir()}
    there = {_number(name) for name in (own | set(segments(base.parent, made.line))) if _is_segment(name)}
    needed = range(_number(made.segment), max(there, default=0) + 1)
    missing = next((number for number in needed if number not in there), None)
    return None if missing is None else f"{made.segment[:8]}{missing // SEGMENTS:08X}{missing % SEGMENTS:08X}"


def prune(cluster: Cluster, directory: Path, kept: list[Base]) -> None:
    """What no base backup needs any more. The line that is being written stays."""
    for line in lines(directory):
        first = min((each.segment for each in kept if each.line == line), default=None)
        if first:
            run(cluster.tool("pg_archivecleanup"), str(folder(directory, line)), first)
        elif line != current(directory):
            shutil.rmtree(folder(directory, line))


def after(directory: Path, made: Base) -> Iterator[tuple[str, Path]]:
    """The log that follows on the base backup, and where others took over its lead: (name in pg_wal, file)."""
    for path in folder(directory, made.line).glob("*.history"):
        yield path.name, path
    for name, path in segments(directory, made.line).items():
        if name >= made.segment:
            yield name, path


def _is_segment(name: str) -> bool:
    return len(name) == len("000000010000000000000001")


def _number(segment: str) -> int:
    return int(segment[8:16], 16) * SEGMENTS + int(segment[16:24], 16)
