"""Base backups of PostgreSQL, each verified before it is listed."""

from __future__ import annotations

import re
import time
from pathlib import Path

from restante.errors import FoundError, InputError
from restante.server.backup import wal
from restante.server.backup.cluster import Cluster, run
from restante.server.backup.folder import Base, describe, described, name, sync

_START = re.compile(r"^START WAL LOCATION: .* \(file ([0-9A-F]{24})\)$", re.MULTILINE)


def make(cluster: Cluster, directory: Path) -> Base:
    """With the log that makes it whole (`--wal-method=stream`): it stands on its own, and the line only adds to it."""
    file = name(time.time())
    part = directory / f".{file}.part"
    run(
        cluster.tool("pg_basebackup"), f"--dbname={cluster.spared}", f"--pgdata={part}", "--wal-method=stream", "--checkpoint=fast",
        "--manifest-checksums=SHA256", "--no-password",
    )  # fmt: skip
    demand_whole(cluster, part)
    size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    made = Base(file, time.time(), size, wal.current(directory), first_segment(part))
    part.rename(directory / file)
    sync(directory)
    describe(directory, made)
    return made


def verify(cluster: Cluster, path: Path) -> Base:
    """Raises FoundError when a file is not what was written, or when the log that follows has a gap or is of another history."""
    made = whole(cluster, path)
    if wal.history(path, made).lacks(made.segment):
        raise FoundError(
            f"{path} is whole, and was made of a leader that had gone on alone: no log that came since follows on it; "
            "choose an older one, or make a new one"
        )
    if missing := wal.gap(path, made):
        raise FoundError(
            f"{path} is whole, and the log that follows on it has a gap: {missing} is missing in {wal.folder(path.parent, made.line)}; "
            "nothing from after it can be restored from this backup, and `restante restore --to` a moment before"
        )
    return made


def whole(cluster: Cluster, path: Path) -> Base:
    """Whatever log follows: a restore to a moment may need no more than is there, and PostgreSQL says when it does."""
    made = described(path)
    if not isinstance(made, Base):
        raise InputError(f"{path} is a copy of SQLite, and a base backup of PostgreSQL is wanted here")
    demand_whole(cluster, path)
    return made


def demand_whole(cluster: Cluster, path: Path) -> None:
    """Every file against its checksum, and the backup's own log, parsed."""
    try:
        run(cluster.tool("pg_verifybackup"), "--quiet", str(path))
    except FoundError as error:
        raise FoundError(f"{path} is damaged: {error}") from None


def first_segment(path: Path) -> str:
    found = _START.search((path / "backup_label").read_text())
    if not found:
        raise FoundError(f"{path}/backup_label names no segment to start from: this is no base backup")
    return found[1]
