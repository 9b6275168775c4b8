"""Restore the newest backup beside itself, see that every page is whole, and remove it: one that nobody restored is a hope."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from restante.errors import FoundError
from restante.server.backup import folder, recover, timelines
from restante.server.backup.cluster import Cluster, run
from restante.server.backup.settings import BackupSettings
from restante.server.backup.timelines import History

LAST = ".trial.json"


@dataclass(frozen=True)
class Trial:
    """`took_s`: from the backup to a store that could serve, as long as a restore takes here."""

    file: str
    made_at: float
    messages: int
    took_s: float


def hold(cluster: Cluster, settings: BackupSettings) -> Trial:
    """Raises FoundError when it cannot be restored, when a page is not what its checksum says, or when history went on without it."""
    directory, leads = settings.directory, cluster.history()
    with folder.alone(directory):
        newest = folder.chosen(directory)
        folder.room(directory, newest.size, settings.floor_bytes)
        began = time.time()
        fresh = directory / ".trial.part"
        try:
            _, messages = recover.recover(cluster, directory / newest.file, fresh, None, directory.owner())
            run(cluster.tool("pg_checksums"), "--check", "-D", str(fresh))
            _demand_part_of(leads, timelines.newest(fresh / "pg_wal"))
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        held = Trial(newest.file, time.time(), messages, round(time.time() - began, 1))
        _describe(directory, held)
    return held


def _demand_part_of(leads: History, restored: History) -> None:
    """Recovery leaves the last timeline of its log for one of its own, which may have the number of a leader's that it does not know."""
    if restored.timeline == leads.timeline or not restored.follows(leads):
        raise FoundError(
            f"the leader writes timeline {leads.timeline}, and what was restored has nothing of it: the log since the last failover is not "
            f"held; journalctl -u {recover.RECEIVES} says why"
        )


def _describe(directory: Path, held: Trial) -> None:
    part = directory / f"{LAST}.part"
    part.write_text(json.dumps(asdict(held)) + "\n")
    part.rename(directory / LAST)
