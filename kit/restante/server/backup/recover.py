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
from restante.server.backup import bases, folder, timelines, wal
from restante.server.backup.cluster import Cluster, run
from restante.server.backup.folder import Base
from restante.server.store.inboxes import new_epoch
from restante.server.store.statements import named

DATABASE = "restante"
RESTORED = "restored"
SERVES = "restante-restored.service"
RECEIVES = "restante-wal.service"
_COUNT = re.compile(r'count = "(\d+)"')


def restore(cluster: Cluster, path: Path, to: float | None = None) -> tuple[Base, int]:
    """To the end of the log, or to the moment `to`; the base backup it stands on, and how many messages there are."""
    aside = demand_stopped(cluster.unit, cluster.data)
    fresh = cluster.data.with_name(f"{cluster.data.name}.restoring")
    made, messages = recover(cluster, path, fresh, to, "postgres")
    if cluster.data.exists():
        cluster.data.rename(aside)
    fresh.rename(cluster.data)
    return made, messages


def serve(cluster: Cluster, path: Path, directory: Path, to: float | None = None) -> tuple[Base, int]:
    """In `directory`, from where a unit serves it to the members. What is logged there from now on is another line: history branches."""
    _demand_root()
    run("systemctl", "stop", SERVES, RECEIVES)
    try:
        with folder.alone(directory):
            made, messages = recover(cluster, path, directory / RESTORED, to, directory.owner())
            line = wal.folder(directory, wal.begin(directory))
            for made_by_root in (directory / ".lock", line.parent, line):
                shutil.chown(made_by_root, directory.owner(), directory.group())
        run("systemctl", "start", SERVES)
    finally:
        run("systemctl", "start", "--no-block", RECEIVES)
    return made, messages


def recover(cluster: Cluster, path: Path, fresh: Path, to: float | None, owner: str) -> tuple[Base, int]:
    """In `fresh`, which is made anew, as `owner`. Nothing else is touched."""
    made = bases.verify(cluster, path) if to is None else bases.whole(cluster, path)
    if to is not None and to < made.made_at:
        raise InputError(
            f"{made.file} was complete only at {when(made.made_at)}, after that moment; choose an older one"
        )
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "-a", "--reflink=auto", str(path), str(fresh))
    _add_log(fresh, path.parent, made)
    # A copy of a member that follows says so: this one ends its recovery, and leads.
    (fresh / "standby.signal").unlink(missing_ok=True)
    (fresh / "recovery.signal").touch()
    if os.geteuid() == 0:
        run("chown", "-R", f"{owner}:", str(fresh))
    messages = _run_recovery(cluster, fresh, to, owner)
    run("sync", "-f", str(fresh))
    return made, messages


def _demand_root() -> None:
    if os.geteuid() != 0:
        raise InputError("a restore stops and starts units and replaces files of others: run it as root")


def demand_stopped(unit: str, data: Path) -> Path:
    """Where the old data folder goes; raises InputError while `unit` uses it."""
    _demand_root()
    state = run("systemctl", "show", "--property=ActiveState", "--value", unit)
    if state not in {"inactive", "failed"}:
        raise InputError(f"{unit} is {state}; stop it first: systemctl stop {unit}")
    aside = data.with_name(f"{data.name}.before-restore")
    if aside.exists():
        raise InputError(f"{aside} is there, from an earlier restore; remove it, or move it away, and try again")
    return aside


def _add_log(fresh: Path, directory: Path, made: Base) -> None:
    """The newer of two: the last segment of a base backup ends where that ended, and the line's goes on."""
    for name, path in wal.after(directory, made):
        target = fresh / "pg_wal" / name
        if not target.exists() or target.stat().st_mtime <= path.stat().st_mtime:
            shutil.copy2(path, target)


def _run_recovery(cluster: Cluster, fresh: Path, to: float | None, owner: str) -> int:
    settings = {
        # A replicated store's own settings lie in its folder, and are for a member.
        "config_file": "/dev/null" if cluster.server else str(cluster.config), "data_directory": str(fresh), "hot_standby": "off",
        # "latest", the default, stops looking where a number was left out.
        "recovery_target_timeline": str(timelines.newest(fresh / "pg_wal").timeline),
        "restore_command": "false", "recovery_target_action": "promote", "log_destination": "stderr", "logging_collector": "off",
    }  # fmt: skip
    if to is not None:
        settings["recovery_target_time"] = datetime.fromtimestamp(to, UTC).isoformat()
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    become = ("runuser", "-u", owner, "--") if os.geteuid() == 0 else ()
    single = (*become, cluster.tool("postgres"), "--single", "-D", str(fresh))
    changed = named("postgresql")["new_epochs"].replace(":epoch", f"'{new_epoch()}'")
    # One statement: a count that is answered says that the epochs are new.
    text = f"WITH changed AS ({changed} RETURNING id) SELECT count(*) FROM message\n"  # noqa: S608 - the epoch is hexadecimal
    try:
        said = run(*single, *options, DATABASE, text=text)
    except FoundError as error:
        hint = f". A log that ends before {when(to)} is one reason: without --to all there is comes back" if to else ""
        raise FoundError(f"recovery in {fresh} failed, and the store is as it was{hint}\n{error}") from None
    counted = _COUNT.search(said)
    if not counted:
        raise FoundError(f"recovery in {fresh} ended without the post office's tables, and the store is as it was")
    return int(counted[1])


def when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
