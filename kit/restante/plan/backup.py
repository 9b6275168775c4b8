"""Backups: on which host the kit makes them, how often, how long they stay, and when the newest is too old."""

from __future__ import annotations

from restante.plan.derived import Values
from restante.plan.post import store_host
from restante.spec.model import Backup, Spec, Tier

_POSTGRESQL = "PostgreSQL, runtime configuration"
_SOURCE = "the spec, or its default (docs/reference/spec.md)"


def host(spec: Spec) -> str | None:
    """Where the store is, when its backups are the kit's."""
    if not spec.store.backup.enabled or not spec.inboxes or spec.store.replicated:
        return None
    return store_host(spec) if spec.store.engine == "postgresql" else next(iter(spec.hosts_of(Tier.post)), None)


def beside_the_store(spec: Spec) -> int:
    """Whole backups on the store's own disk: none when they have another folder than the default, which is taken for a disk of its own."""
    kept = spec.store.backup
    if host(spec) is None or kept.directory != Backup().directory:
        return 0
    return kept.keep // kept.every + 1


def derive(spec: Spec, values: Values) -> None:
    if host(spec) is None:
        return
    backup = spec.store.backup
    every = values.add("backup.every", backup.every, "s", "A whole backup is made so often, and once when the timer starts.",
        risk="seldom, and SQLite loses more, PostgreSQL recovers for longer", source=_SOURCE, spec_key="store.backup.every")  # fmt: skip
    values.add("backup.keep", backup.keep, "s", "A restore can go so far back.",
        risk="too short, and a mistake is noticed too late", source=_SOURCE, spec_key="store.backup.keep")  # fmt: skip
    values.add("backup.stale_after", 2 * every, "s", "Twice the interval: one may be late or fail, and was told of; then a person is told.",
        risk="without it a timer that is off is noticed at the restore", source="guarantee G7", spec_key="store.backup.every")  # fmt: skip
    if spec.hosts_of(Tier.store):
        _log(values)


def _log(values: Values) -> None:
    values.add("store.slot_wal", 4 * values["store.max_wal_size"], "MiB", "So much log waits for its receiver; then a new line begins.",
        risk="one that is stuck fills the disk", source=f"{_POSTGRESQL}: max_slot_wal_keep_size", spec_key="store.disk")  # fmt: skip
