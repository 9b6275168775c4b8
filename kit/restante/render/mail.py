"""What the templates of post and store hosts need, beyond what every host's do."""

from __future__ import annotations

from typing import Any

from restante.plan import agents, cluster, office, post
from restante.plan.build import HostPlan, Plan
from restante.plan.cluster import BACKUP_USER
from restante.plan.mail import MIB
from restante.render.manifest import Secret

CREDENTIALS = "/etc/restante/credentials"
RELEASES = "/opt/restante/server"
USER = cluster.OFFICE_USER
MIGRATION_LOCK = 0x7E57A  # as restante.server.store.migrations has it; a test compares them


def context(plan: Plan, host: HostPlan) -> dict[str, Any]:
    return {
        **(_post(plan, host) if host.is_post else {}),
        **(_store(plan, host) if host.is_store else {}),
        **_backup(plan, host),
    }


def _post(plan: Plan, host: HostPlan) -> dict[str, Any]:
    return {
        "mail_name": post.mail_name(plan.spec, host.name),
        "inet_protocols": ", ".join(family for family in ("ipv4", "ipv6") if getattr(host.host, family)),
        "smtp_tls_protocols": f">={plan.tls_profile.protocols.split()[0]}",
        "bytes": lambda key: plan.values[key].value * MIB,
        "recipients": office.RECIPIENTS,
        "recipients_folder": office.RECIPIENTS.rpartition("/")[0],
        "flush": office.FLUSH,
        "settings": office.settings(plan.spec, plan.values, host.name),
        "credentials": office.credentials(plan.spec),
        "office_sockets": " ".join(sockets(plan, host)),
        "loopback": f"{post.LOOPBACK}:{post.HTTP_PORT}",
        "secured_addresses": [
            _join(address, post.HTTP_PORT) for address in post.secured_addresses(plan.spec, host.name)
        ],
    }


def _store(plan: Plan, host: HostPlan) -> dict[str, Any]:
    version, replicated = host.target.postgresql, plan.spec.store.replicated
    return {
        "store_data": post.store_data(plan.spec, version),
        "store_units": "patroni.service"
        if replicated
        else f"postgresql@{version}-main.service restante-store-setup.service",
        "store_addresses": ", ".join(("localhost", *host.host.addresses)),
        "store_port": cluster.STORE_PORT,
        "store_clients": post.store_clients(plan.spec),
        "backs_up": bool(cluster.archive(plan.spec)) if replicated else host.keeps_backups,
        "migration_lock": MIGRATION_LOCK,
    }


def _backup(plan: Plan, host: HostPlan) -> dict[str, Any]:
    """`backup` is None where the kit makes none."""
    here = host.keeps_backups
    return {
        "backup": plan.spec.store.backup if here else None,
        "backup_user": USER if plan.spec.store.engine == "sqlite" else BACKUP_USER,
        "floor_bytes": plan.values["mail.free_space_floor"].value * MIB if here else 0,
        "sqlite": office.SQLITE,
        "data": office.DATA,
        "server_folder": folder(plan),
    }


def sockets(plan: Plan, host: HostPlan) -> tuple[str, ...]:
    """Units of what the post office listens on."""
    edge = ("edge",) if post.secured_addresses(plan.spec, host.name) else ()
    return tuple(f"restante-{name}.socket" for name in ("http", *edge, "admin", "lmtp"))


def users(plan: Plan, host: HostPlan) -> set[str]:
    log = host.keeps_backups and plan.spec.store.engine != "sqlite"
    return ({USER} if host.is_post else set()) | ({BACKUP_USER} if log else set())


def folder(plan: Plan) -> str:
    """Where a host has the post office's code: one folder a release, so that going back is starting from the other one."""
    return f"{RELEASES}/{plan.server}"


def trees(plan: Plan, host: HostPlan) -> dict[str, dict[str, str]]:
    """Folders that the deploy brings as a whole, for the host's own Python and architecture. Agents have the SDK from the same."""
    users = ["post"] if host.is_post else ["command"] if host.has_verbs else []
    users += [f"service-{name}" for name, service in host.services.items() if agents.carries_sdk(service)]
    return {folder(plan): {"component": users[0], "python": host.target.python}} if users else {}


def secrets(plan: Plan, host: HostPlan) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    for name, reference in office.credentials(plan.spec).items() if host.is_post else ():
        found[f"{CREDENTIALS}/post/{name}"] = Secret("post", reference)
    if host.is_store and not plan.spec.store.replicated:
        found[f"{CREDENTIALS}/store/password"] = Secret("postgresql", office.password(plan.spec))
    return found


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
