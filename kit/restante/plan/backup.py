"""Backups: on which host the kit makes them, how often, how long they stay, and when the newest is too old."""

from __future__ import annotations

from collections.abc import Iterator

from restante.plan import cluster
from restante.plan.derived import Values
from restante.plan.post import store_host
from restante.spec.document import Path
from restante.spec.hosts import Tier
from restante.spec.mail import Backup
from restante.spec.model import Spec

_POSTGRESQL = "PostgreSQL, runtime configuration"
_SOURCE = "the spec, or its default (docs/reference/spec.md)"


def host(spec: Spec) -> str | None:
    """Where they are made, when that is the kit's: beside the store, or on the host that a cluster's spec names."""
    if not spec.store.backup.enabled or not spec.inboxes:
        return None
    if spec.store.replicated:
        return spec.store.backup.host
    return store_host(spec) if spec.store.engine == "postgresql" else next(iter(spec.hosts_of(Tier.post)), None)


def beside_the_store(spec: Spec) -> int:
    """Whole backups on the store's own disk: none when they have another folder than the default, which is taken for a disk of its own."""
    kept = spec.store.backup
    if host(spec) is None or spec.store.replicated or kept.directory != Backup().directory:
        return 0
    return kept.keep // kept.every + 1


def derive(spec: Spec, values: Values) -> None:
    if spec.store.replicated or (host(spec) and spec.hosts_of(Tier.store)):
        _log(values)
    if host(spec) is None:
        return
    backup = spec.store.backup
    every = values.add("backup.every", backup.every, "s", "A whole backup is made so often, and once when the timer starts.",
        risk="seldom, and SQLite loses more, PostgreSQL recovers for longer", source=_SOURCE, spec_key="store.backup.every")  # fmt: skip
    values.add("backup.keep", backup.keep, "s", "A restore can go so far back.",
        risk="too short, and a mistake is noticed too late", source=_SOURCE, spec_key="store.backup.keep")  # fmt: skip
    values.add("backup.stale_after", 2 * every, "s", "Twice the interval: one may be late or fail, and was told of; then a person is told.",
        risk="without it a timer that is off is noticed at the restore", source="guarantee G7", spec_key="store.backup.every")  # fmt: skip
    if spec.store.replicated:
        _trial(values)


def _log(values: Values) -> None:
    values.add("store.slot_wal", 4 * values["store.max_wal_size"], "MiB",
        "So much log waits for its receiver or a member that is away; then a new line of backups begins, or the member is copied anew.",
        risk="one that is stuck fills the disk", source=f"{_POSTGRESQL}: max_slot_wal_keep_size", spec_key="store.disk")  # fmt: skip


def _trial(values: Values) -> None:
    every = values.add("backup.trial_every", 7, "days", "So often the newest backup is restored beside itself, with its log, and removed.",
        risk="a backup that nobody restored is a hope", source="its host has disk and time for it", spec_key="store.backup")  # fmt: skip
    values.add("backup.trial_stale_after", 2 * every, "days", "Twice the interval, as with backups.",
        risk="without it a timer that is off is noticed at the restore", source="guarantee G7", spec_key="store.backup")  # fmt: skip


def problems(spec: Spec) -> Iterator[tuple[Path, str]]:
    """Why the host that is to keep a cluster's backups cannot."""
    name, stores = spec.store.backup.host, spec.hosts_of(Tier.store)
    place: Path = ("store", "backup", "host")
    if not name or not stores:
        return
    others = [other for other in spec.hosts if other not in stores]
    if name not in spec.hosts:
        yield place, f"there is no host '{name}'; accepted: {', '.join(others)}"
        return
    if name in stores:
        yield (
            place,
            f"{name} is a member of the cluster itself, and its backups would be lost with it; accepted: {', '.join(others)}",
        )
        return
    own, members = spec.hosts[name], spec.hosts[stores[0]]
    if (own.os, own.arch) != (members.os, members.arch):
        yield (
            place,
            f"{name} runs {own.os.value} on {own.arch}, and {stores[0]} {members.os.value} on {members.arch}: "
            "files of PostgreSQL are restored where the same one reads them; accepted: a host with the members' release",
        )
    elif cluster.address(spec, name) is None:
        yield (
            place,
            f"{name} and the cluster have no address family in common; give it the members' too, or name another host",
        )
