"""One round of the timer: make room by the rule, make a backup, verify it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from restante.server.backup import bases, copies, folder, wal
from restante.server.backup.cluster import SLOT, Cluster
from restante.server.backup.folder import Base, Copy
from restante.server.backup.settings import BackupSettings


def make(settings: BackupSettings) -> Copy | Base:
    """What is too old goes first: a full disk must be able to mend itself. The newest never goes."""
    with folder.alone(settings.directory):
        prune(settings)
        folder.room(settings.directory, _expected(settings), settings.floor_bytes)
        if settings.path:
            return copies.make(settings.path, settings.directory)
        return bases.make(cluster(settings), settings.directory)


def prune(settings: BackupSettings) -> None:
    gone = folder.superfluous(folder.listed(settings.directory), settings.keep_s, time.time())
    for each in gone:
        folder.remove(settings.directory, each)
    if settings.version:
        kept = [each for each in folder.listed(settings.directory) if isinstance(each, Base)]
        wal.prune(cluster(settings), settings.directory, kept)


def receive(settings: BackupSettings) -> NoReturn:
    """Become pg_receivewal. It ends when its connection does, and systemd starts all of this anew: the cluster may be another then."""
    here, directory = cluster(settings), settings.directory
    if not _goes_on(here, directory):
        # The line first: a slot without one of its own would go on in the line before.
        wal.begin(directory)
        here.new_slot()
    number = wal.current(directory)
    if not wal.segments(directory, number):
        _want_a_backup(directory)
    line = wal.folder(directory, number)
    program = here.tool("pg_receivewal")
    where = (f"--dbname={here.leader}", f"--directory={line}", f"--slot={SLOT}")
    os.execv(program, [program, *where, "--synchronous", "--no-loop", "--no-password"])  # noqa: S606


def _goes_on(here: Cluster, directory: Path) -> bool:
    """Whether what the leader has follows on the line that was written last."""
    number, history, position = wal.current(directory), here.history(), here.slot_position()
    if not number or not history.follows(wal.held(directory, number)):
        return False
    if aside := wal.set_aside(directory, number, history):
        sys.stderr.write(
            f"log that the leader before had alone is in {aside} now: the present one has it not, and no restore reads it\n"
        )
        _want_a_backup(directory)  # the last one may stand on that
    return bool(position) and wal.goes_on(directory, number, position)


def _want_a_backup(directory: Path) -> None:
    """A unit watches the file."""
    (directory / "wanted").touch()


def cluster(settings: BackupSettings) -> Cluster:
    return Cluster(settings.version or "", settings.server)


def _expected(settings: BackupSettings) -> int:
    """As large as the store, or as the last one: PostgreSQL's folder is closed to us."""
    if settings.path:
        return settings.path.stat().st_size if settings.path.exists() else 0
    return max((each.size for each in folder.listed(settings.directory)[:1]), default=0)
