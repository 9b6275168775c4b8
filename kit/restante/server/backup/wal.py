"""The log (WAL) of PostgreSQL beside its base backups, one folder for each line: a stretch of log without a gap or a branch.

A line ends when its cluster is restored, which changes history, or when the slot that kept the log for us is gone. Then the next
begins, and needs a base backup of its own; so a log that does not belong to a backup is never replayed on it. A failover goes on in
the line, on another timeline; what the old leader sent beyond the point where that begins is set aside.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from restante.server.backup import timelines
from restante.server.backup.cluster import Cluster, run
from restante.server.backup.folder import Base, listed, name, sync
from restante.server.backup.timelines import SEGMENT_BYTES, History, number

PART = ".partial"
ASIDE = "aside-"


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
    # The one that pg_receivewal goes on from, too.
    last, path = max(found.items(), key=lambda each: (number(each[0]), each[0]))
    return timelines.position(position) // SEGMENT_BYTES <= number(last) + (path.suffix != PART)


def held(directory: Path, line: int) -> History:
    """The history that its log is of."""
    return timelines.newest(folder(directory, line))


def set_aside(directory: Path, line: int, history: History) -> Path | None:
    """The folder to which log that `history` does not have was moved, if there was any. Nobody else may have it: it is kept.

    Where it lay, a recovery would read it, and pg_receivewal would ask for what follows on it, which no server has.
    """
    where = folder(directory, line)
    known = segments(directory, line)
    lacking = [path for segment, path in known.items() if history.lacks(segment)]
    aside = where / f"{ASIDE}{name(time.time())}" if lacking else None
    if aside:
        aside.mkdir(mode=0o700, exist_ok=True)
        for path in lacking:
            path.rename(aside / path.name)
        sync(aside)
    for path in (path for segment, path in known.items() if history.cuts(segment) and path not in lacking):
        # To go on from its beginning: as much of it is received again as is history.
        path.rename(path.with_suffix(PART))
    sync(where)
    return aside


def history(base: Path, made: Base) -> History:
    """The one that a recovery follows: the newest that the base backup or its line knows."""
    return timelines.newest(base / "pg_wal", folder(base.parent, made.line))


def gap(base: Path, made: Base) -> str | None:
    """The first segment that is missing between the base backup's start and the end of its line, on the way of its history."""
    way = history(base, made)
    own = {path.name for path in (base / "pg_wal").iterdir() if _is_segment(path.name)}
    there = {segment for segment in own | set(segments(base.parent, made.line)) if not way.lacks(segment)}
    last = max(map(number, there), default=0)
    needed = range(number(made.segment), max(last, way.begins // SEGMENT_BYTES) + 1)
    return next((segment for segment in map(way.segment, needed) if segment not in there), None)


def prune(cluster: Cluster, directory: Path, kept: list[Base]) -> None:
    """What no base backup needs any more. The line that is being written stays."""
    for line in lines(directory):
        # By number, as pg_archivecleanup does: a base backup may stand on what a timeline had beyond the point where it was left.
        first = min((each.segment for each in kept if each.line == line), key=number, default=None)
        if first:
            for place in (folder(directory, line), *folder(directory, line).glob(f"{ASIDE}*")):
                run(cluster.tool("pg_archivecleanup"), str(place), first)
        elif line != current(directory):
            shutil.rmtree(folder(directory, line))


def after(directory: Path, made: Base) -> Iterator[tuple[str, Path]]:
    """The log that follows on the base backup, and where others took over its lead: (name in pg_wal, file)."""
    for path in folder(directory, made.line).glob("*.history"):
        yield path.name, path
    for segment, path in segments(directory, made.line).items():
        if segment >= made.segment:
            yield segment, path


def _is_segment(file: str) -> bool:
    return len(file) == len("000000010000000000000001")
