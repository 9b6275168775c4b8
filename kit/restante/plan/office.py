"""What the post office is told: /etc/restante/restante.toml as data. It is the seam: the runtime reads it and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from restante.plan import backup, cluster, identity, tls
from restante.plan.cluster import STORE_PORT
from restante.plan.derived import Derived
from restante.plan.facts import EXPIRY_WARNING_DAYS
from restante.plan.mail import MIB
from restante.plan.post import predefined, secured_addresses, store_host
from restante.spec.model import Spec

DATA = "/var/lib/restante/post"
SQLITE = f"{DATA}/store.sqlite"
RECIPIENTS = "/var/lib/restante/recipients/recipients.sqlite"
FLUSH = f"{DATA}/flush"  # the post office touches this file below its data when its store is back
CREDENTIALS = "/run/credentials/restante-server.service"

Value = str | int | bool | list[str]


@dataclass(frozen=True)
class Setting:
    """One line; `derived` says why, where it is a number of the plan."""

    key: str
    value: Value
    derived: Derived | None = None


def settings(spec: Spec, values: Mapping[str, Derived], host: str) -> dict[str, list[Setting]]:
    """Section -> its lines, in the order in which they are written."""
    assert spec.inboxes

    def seconds(**keys: str) -> list[Setting]:
        return [Setting(name, values[key].value, values[key]) for name, key in keys.items()]

    def size(name: str, key: str) -> Setting:
        return Setting(name, values[key].value * MIB, values[key])

    rotate = seconds(max_age_s="path.rotate_after") if "path.rotate_after" in values else [Setting("max_age_s", 0)]
    return {
        "server": [Setting("host", host), Setting("domain", spec.domain), Setting("data", DATA)],
        "store": [*_store(spec, values), size("free_space_floor", "mail.free_space_floor")],
        "inboxes": [
            Setting("domains", list(spec.inboxes.domains)),
            Setting("predefined", predefined(spec.inboxes)),
            *seconds(lease_s="inbox.lease", attempts="inbox.attempts", retention_s="inbox.retention"),
            size("quota_bytes", "inbox.quota"),
            *seconds(message_bytes="mail.message_size", hop_retention_s="mail.hop_retention"),
        ],
        "heartbeat": seconds(interval_s="heartbeat.interval", pong_timeout_s="heartbeat.pong_timeout",
                             misses="heartbeat.misses", server_silence_s="heartbeat.server_silence"),
        "socket": [*rotate, *seconds(reconnect_spread_s="reconnect.spread", drain_s="server.drain")],
        "http": [
            *seconds(keepalive_timeout_s="upstream.keepalive_timeout", longpoll_hold_s="edge.longpoll_hold"),
            Setting("cors", list(spec.cors)),
            *_certificate(spec, host),
        ],
        "webhooks": [Setting("allow", list(spec.webhooks.allow)), Setting("https_only", spec.webhooks.https_only)],
        "postfix": [Setting("recipients", RECIPIENTS)],
        "alert": [Setting("command", "/usr/local/lib/restante/alert")],
        **_backup(spec, values, host),
        **{f"certificates.{name}": lines for name, lines in _certificates(spec, values).items()},
    }  # fmt: skip


def _certificate(spec: Spec, host: str) -> list[Setting]:
    if not secured_addresses(spec, host):
        return []
    user = cluster.OFFICE_USER
    return [Setting("certificate", identity.certificate(user)), Setting("key", identity.key(user))]


def _certificates(spec: Spec, values: Mapping[str, Derived]) -> dict[str, list[Setting]]:
    """What for -> where it is, and the time to go with which nobody renewed it."""

    def watched(path: str, warn_before_s: int, derived: Derived | None = None) -> list[Setting]:
        return [Setting("path", path), Setting("warn_before_s", warn_before_s, derived)]

    found = {"domain": watched(tls.files(spec)[0], EXPIRY_WARNING_DAYS * 86400)}
    if "identity.lifetime" in values:
        leaf, issuer = values["identity.renewal_warning"], values["identity.issuer_warning"]
        found["host"] = watched(identity.certificate(cluster.OFFICE_USER), leaf.value * 3600, leaf)
        found["issuer"] = watched(f"{identity.ISSUER}/host.pem", issuer.value * 86400, issuer)
    return found


def _backup(spec: Spec, values: Mapping[str, Derived], host: str) -> dict[str, list[Setting]]:
    """The age of a copy on its own host is the post office's to watch; PostgreSQL's are on another."""
    if spec.store.engine != "sqlite" or backup.host(spec) != host:
        return {}
    stale = values["backup.stale_after"]
    return {"backup": [Setting("directory", spec.store.backup.directory), Setting("stale_after_s", stale.value, stale)]}


def engine(spec: Spec) -> str:
    """To the post office a cluster is PostgreSQL too."""
    return "sqlite" if spec.store.engine == "sqlite" else "postgresql"


def _store(spec: Spec, values: Mapping[str, Derived]) -> list[Setting]:
    made = Setting("engine", engine(spec))
    if engine(spec) == "sqlite":
        return [made, Setting("path", SQLITE)]
    if spec.store.url:
        return [made, Setting("url_file", f"{CREDENTIALS}/store-url")]
    if spec.store.replicated:
        return [made, Setting("url", cluster.url(spec, {key: each.value for key, each in values.items()}))]
    return [made, Setting("url", _url(spec)), Setting("password_file", f"{CREDENTIALS}/store-password")]


def _url(spec: Spec) -> str:
    """Both ends prove by SCRAM, bound to the TLS channel, that they know the password: nobody stands between.

    The server's certificate is not checked against an authority; there is none.
    """
    host = spec.hosts[store_host(spec) or ""]
    address = host.ipv4 or f"[{host.ipv6}]"
    return f"postgresql://restante@{address}:{STORE_PORT}/restante?sslmode=require&channel_binding=require"


def credentials(spec: Spec) -> dict[str, str]:
    """Name -> reference: what the unit of the post office loads."""
    if spec.store.url:
        return {"store-url": spec.store.url}
    return {"store-password": password(spec)} if spec.store.engine == "postgresql" else {}


def password(spec: Spec) -> str:
    return spec.store.password or "env:RESTANTE_LAB_STORE_PASSWORD"
