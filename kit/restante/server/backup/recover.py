"""Put PostgreSQL back: a base backup and the log that follows on it, in a fresh data folder beside the old one.

Recovery runs in PostgreSQL's single-user mode: nobody can connect before every epoch is changed, and it ends when it is done.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from restante.errors import FoundError, InputError
from restante.server.backup import bases, wal
from restante.server.backup.cluster import Cluster, run
from restante.server.backup.folder import Base
from restante.server.store.inboxes import new_epoch
from restante.server.store.statements import named

DATABASE = "restante"
_COUNT = re.compile(r'count = "(\d+)"')


def restore(cluster: Cluster, path: Path, to: float | None = None) -> tuple[Base, int]:
    """To the end of the log, or to the moment `to`; the base backup it stands on, and how many messages there are."""
    aside = _demand_stopped(cluster)
    made = bases.verify(cluster, path)
    if to is not None and to < made.made_at:
        raise InputError(
            f"{made.file} was complete only at {when(made.made_at)}, after that moment; choose an older one"
        )
    fresh = cluster.data.with_name(f"{cluster.data.name}.restoring")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "-a", "--reflink=auto", str(path), str(fresh))
    _add_log(fresh, path.parent, made)
    (fresh / "recovery.signal").touch()
    run("chown", "-R", "postgres:postgres", str(fresh))
    messages = _recover(cluster, fresh, to)
    run("sync", "-f", str(fresh))
    if cluster.data.exists():
        cluster.data.rename(aside)
    fresh.rename(cluster.data)
    return made, messages


def _demand_stopped(cluster: Cluster) -> Path:
    """Where the old data folder goes."""
    if os.geteuid() != 0:
        raise InputError("a restore replaces PostgreSQL's data folder: run it as root")
    state = run("systemctl", "show", "--property=ActiveState", "--value", cluster.unit)
    if state not in {"inactive", "failed"}:
        raise InputError(f"{cluster.unit} is {state}; stop it first: systemctl stop {cluster.unit}")
    aside = cluster.data.with_name(f"{cluster.data.name}.before-restore")
    if aside.exists():
        raise InputError(f"{aside} is there, from an earlier restore; remove it, or move it away, and try again")
    return aside


def _add_log(fresh: Path, directory: Path, made: Base) -> None:
    """The newer of two: the last segment of a base backup ends where that ended, and the line's goes on."""
    for name, path in wal.after(directory, made):
        target = fresh / "pg_wal" / name
        if not target.exists() or target.stat().st_mtime <= path.stat().st_mtime:
            shutil.copy2(path, target)


def _recover(cluster: Cluster, fresh: Path, to: float | None) -> int:
    settings = {
        "config_file": str(cluster.config), "data_directory": str(fresh), "hot_standby": "off",
        "restore_command": "false", "recovery_target_action": "promote", "log_destination": "stderr", "logging_collector": "off",
    }  # fmt: skip
    if to is not None:
        settings["recovery_target_time"] = datetime.fromtimestamp(to, UTC).isoformat()
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    single = ("runuser", "-u", "postgres", "--", cluster.tool("postgres"), "--single", "-D", str(fresh))
    changed = named("postgresql")["new_epochs"].replace(":epoch", f"'{new_epoch()}'")
    # One statement: a count that is answered says that the epochs are new.
    text = f"WITH changed AS ({changed} RETURNING id) SELECT count(*) FROM message\n"  # noqa: S608 - the epoch is hexadecimal
    try:
        said = run(*single, *options, DATABASE, text=text)
    except FoundError as error:
        hint = f". A log that ends before {when(to)} is one reason: without --to all there is comes back" if to else ""
        raise FoundError(f"recovery in {fresh} failed, and {cluster.data} is as it was{hint}\n{error}") from None
    counted = _COUNT.search(said)
    if not counted:
        raise FoundError(f"recovery in {fresh} ended without the post office's tables, and {cluster.data} is as it was")
    return int(counted[1])


def when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
