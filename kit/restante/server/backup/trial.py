"""Restore the newest backup beside itself, see that every page is whole, and remove it: one that nobody restored is a hope."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from restante.server.backup import folder, recover
from restante.server.backup.cluster import Cluster, run
from restante.server.backup.settings import BackupSettings

LAST = ".trial.json"


@dataclass(frozen=True)
class Trial:
    """`took_s`: from the backup to a store that could serve, as long as a restore takes here."""

    file: str
    made_at: float
    messages: int
    took_s: float


def hold(cluster: Cluster, settings: BackupSettings) -> Trial:
    """Raises FoundError when it cannot be restored, or when a page is not what its checksum says."""
    directory = settings.directory
    with folder.alone(directory):
        newest = folder.chosen(directory)
        folder.room(directory, newest.size, settings.floor_bytes)
        began = time.time()
        fresh = directory / ".trial.part"
        try:
            _, messages = recover.recover(cluster, directory / newest.file, fresh, None, directory.owner())
            run(cluster.tool("pg_checksums"), "--check", "-D", str(fresh))
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        held = Trial(newest.file, time.time(), messages, round(time.time() - began, 1))
        _describe(directory, held)
    return held


def _describe(directory: Path, held: Trial) -> None:
    part = directory / f"{LAST}.part"
    part.write_text(json.dumps(asdict(held)) + "\n")
    part.rename(directory / LAST)
