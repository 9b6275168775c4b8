"""A member after a restore: the first copies what the host of the backups has restored, the others copy the first."""

from __future__ import annotations

import shutil
from pathlib import Path

from restante.errors import InputError
from restante.server.backup import recover
from restante.server.backup.cluster import Cluster, run
from restante.server.cluster.peers import Peers
from restante.server.cluster.settings import ClusterSettings

UNIT = "patroni.service"


def copy(settings: ClusterSettings) -> Path:
    """Become the first member of what was restored, once Patroni starts; where the old files are."""
    if settings.archive is None:
        raise InputError("the kit makes no backups of this cluster (store.backup.host), so there is none to restore")
    aside = recover.demand_stopped(UNIT, settings.data)
    peers = Peers(settings)
    if others := peers.patronis():
        raise InputError(
            f"Patroni runs on {', '.join(others)}; stop it on every member first, or mail goes into what is replaced: systemctl stop {UNIT}"
        )
    fresh = settings.data.with_name(f"{settings.data.name}.restoring")
    shutil.rmtree(fresh, ignore_errors=True)
    tool = Cluster(settings.version).tool("pg_basebackup")
    run(
        "runuser", "-u", "postgres", "--", tool, f"--dbname={settings.archive.conninfo}", f"--pgdata={fresh}",
        "--wal-method=stream", "--checkpoint=fast", "--no-password",
    )  # fmt: skip
    peers.forget()
    _swap(settings, aside)
    fresh.rename(settings.data)
    return aside


def follow(settings: ClusterSettings) -> Path:
    """Have no files, so that Patroni copies the leader's when it starts; where the old ones are."""
    aside = recover.demand_stopped(UNIT, settings.data)
    leader = Peers(settings).view().leader
    if leader is None:
        # With no files anywhere Patroni would begin an empty store.
        raise InputError("no member leads yet, so there is nothing to follow; start the first member, and try again")
    _swap(settings, aside)
    return aside


def _swap(settings: ClusterSettings, aside: Path) -> None:
    if settings.data.exists():
        settings.data.rename(aside)
