"""The mail of a spec: whose is taken, how it comes in, where it is kept, and where webhooks may lead."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from restante.spec.section import Model
from restante.spec.values import (
    LONGEST_S,
    SHORTEST_BACKUP_S,
    BackupFolder,
    Domain,
    Duration,
    Label,
    Mailbox,
    Network,
    Reference,
    Size,
    refuse,
)


class Inboxes(Model):
    """Whose mail is taken, and how it is kept."""

    domains: Annotated[tuple[Domain, ...], Field(min_length=1)]
    """Domains that mail is received for."""
    predefined: tuple[Mailbox, ...] = ()
    """Inboxes that exist from the start: addresses, or local parts in the first domain."""
    lease: Duration = 300
    """How long a received message is hidden from other workers until it is acknowledged."""
    attempts: Annotated[int, Field(ge=1, le=100, strict=True)] = 5
    """Leases that may run out until a message becomes a dead letter."""
    retention: Duration = 30 * 86400
    """How long acknowledged mail is kept; what is not acknowledged is kept for ever."""
    quota: Size = 1 << 30
    """What one inbox may hold."""
    message_size: Size = 25 << 20
    """The largest mail that is taken, as it is on the wire."""


class Backup(Model):
    """Backups of the store, made and verified on its own host; carry them to another machine. Those of a cluster lie on `host`."""

    enabled: bool = True
    """Whether the kit makes them. An external store's are its operator's."""
    host: Label | None = None
    """Of a cluster: the host that keeps them, which is none of its members."""
    directory: BackupFolder = "/var/lib/restante/backups"
    """Where they lie; a disk of its own survives the store's."""
    every: Duration = 86400
    """How often a whole one is made. PostgreSQL's log is written there as it grows, besides."""
    keep: Duration = 7 * 86400
    """How far back a restore can go: the newest backup that is older stays too."""

    @model_validator(mode="after")
    def _rhythm(self) -> Backup:
        if self.every < SHORTEST_BACKUP_S:
            raise refuse(
                f"every is {self.every} s: each backup reads the whole store; accepted: {SHORTEST_BACKUP_S // 60}m to {LONGEST_S // 86400}d"
            )
        if self.keep < self.every:
            raise refuse(
                f"keep is {self.keep} s and below every, {self.every} s; keep backups for at least as long as the next one takes to come"
            )
        return self


class Store(Model):
    """Where mail is kept."""

    engine: Literal["sqlite", "postgresql", "postgresql-ha"] = "sqlite"
    """sqlite: on the one post host there is; postgresql: on a store host, or wherever url leads; postgresql-ha:
    on three or more store hosts, any one of which may be away."""
    url: Reference | None = None
    """An external PostgreSQL instead of a store host: postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full."""
    password: Reference | None = None
    """The password of PostgreSQL on a store host."""
    lab: bool = False
    """Take a password from the lab; only `--lab` can deploy it."""
    disk: Size | None = None
    """Size of the disk that the store is on. When given, the plan refuses more mail than fits."""
    mail_per_day: Size | None = None
    """How much mail arrives a day; needed to judge disk."""
    backup: Backup = Backup()
    """Backups of it."""

    @model_validator(mode="after")
    def _fits_its_engine(self) -> Store:
        given = [name for name in ("url", "password", "lab") if getattr(self, name)]
        if self.engine == "sqlite" and given:
            raise refuse(
                f"{given[0]} is for PostgreSQL, and the engine is sqlite; set engine: postgresql, or leave it out"
            )
        if self.replicated and given:
            raise refuse(
                f"the hosts of a cluster know each other by certificate, so {given[0]} has no use; leave it out"
            )
        if self.replicated and "backup" in self.model_fields_set and self.backup.enabled and not self.backup.host:
            raise refuse(
                "backup has no host, and a cluster's backups lie on a host that is none of its members; "
                "add host: NAME, or set enabled: false"
            )
        if self.backup.host and not self.replicated:
            raise refuse(
                f"backup.host is for engine: postgresql-ha; with engine: {self.engine} backups lie beside the store, "
                "in backup.directory; leave host out"
            )
        if self.engine == "postgresql" and len(given) != 1:
            raise refuse("PostgreSQL needs exactly one of password (a store host), url (an external one) and lab: true")
        if self.url and "backup" in self.model_fields_set and self.backup.enabled:
            raise refuse(
                "the store is external, and its backups are its operator's; leave backup out, or set enabled: false"
            )
        return self

    @property
    def replicated(self) -> bool:
        """Each commit is on two hosts before it is acknowledged."""
        return self.engine == "postgresql-ha"


class Webhooks(Model):
    """Where webhooks may lead."""

    allow: tuple[Network, ...] = ()
    """Networks that are private and yet allowed; others that are private, loopback or link-local are refused."""
    https_only: bool = True
    """Whether a webhook without TLS is refused."""


class Smtp(Model):
    """The SMTP listener. Its TLS is the edge's: the same certificate and protocols."""

    postscreen: bool = False
    """Put postscreen before the listener: it turns zombies away before they cost a process."""
