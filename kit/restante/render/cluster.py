"""What the templates of a replicated store need, beyond what every host's do."""

from __future__ import annotations

import json
from typing import Any

from restante.plan import cluster, post
from restante.plan.build import HostPlan, Plan
from restante.render.manifest import Secret

SLOT = "restante"  # as restante.server.backup.cluster calls it; a test compares them


def context(plan: Plan, host: HostPlan) -> dict[str, Any]:
    """Nothing on hosts that are neither members nor anybody whom members know."""
    users = cluster.identities(plan.spec, host.name)
    if not users:
        return {"restored": None}
    names = (f"DNS:{cluster.name(plan.spec, host.name)}", *(f"IP:{address}" for address in host.host.addresses))
    return {
        "issuer": cluster.ISSUER,
        "identities": cluster.IDENTITIES,
        "identity_users": users,
        "identity_name": cluster.name(plan.spec, host.name),
        "subject_names": ", ".join(names),
        "cluster": _member(plan, host) if host.is_store else None,
        "restored": _archive(plan, host) if host.name in cluster.archive(plan.spec) else None,
    }


def _archive(plan: Plan, host: HostPlan) -> dict[str, Any]:
    values = {key: derived.value for key, derived in plan.values.items()}
    return {
        "conninfo": cluster.conninfo(plan.spec, values),
        "own": cluster.archive(plan.spec)[host.name],
        "port": cluster.RESTORED_PORT,
        "members": [(cluster.name(plan.spec, name), at) for name, at in cluster.members(plan.spec).items()],
        "identity": f"{cluster.IDENTITIES}/{cluster.BACKUP_USER}",
    }


def _member(plan: Plan, host: HostPlan) -> dict[str, Any]:
    members, own = cluster.members(plan.spec), f"{cluster.IDENTITIES}/postgres"
    settings = _settings(plan)
    data = post.store_data(plan.spec, host.target.postgresql)
    document = {
        "own": host.name, "members": members, "etcd_port": cluster.ETCD_PORT, "patroni_port": cluster.PATRONI_PORT,
        "identity": own, "root": f"{cluster.ISSUER}/root.pem", "version": host.target.postgresql, "data": data,
        "settings": settings, "archive": _restored_from(plan),
    }  # fmt: skip
    return {
        "own": cluster.join(members[host.name]),
        "members": {name: cluster.join(address) for name, address in members.items()},
        "member_names": [cluster.name(plan.spec, name) for name in members],
        "office_names": [cluster.name(plan.spec, name) for name in cluster.offices(plan.spec)],
        "etcd_port": cluster.ETCD_PORT,
        "etcd_peer_port": cluster.ETCD_PEER_PORT,
        "patroni_port": cluster.PATRONI_PORT,
        "identity": own,
        "data": data,
        "archive": [(cluster.name(plan.spec, name), at) for name, at in cluster.archive(plan.spec).items()],
        "tls": ", ".join(f"{key}: {value}" for key, value in cluster.tls("postgres").items()),
        "settings": json.dumps(settings),
        "document": json.dumps(document, indent=2),
    }


def _restored_from(plan: Plan) -> dict[str, str] | None:
    """Where a member copies a restored store from (libpq, 34.1.1.1); None where the kit makes no backups."""
    for name, address in cluster.archive(plan.spec).items():
        found = {"host": address, "port": cluster.RESTORED_PORT, "user": "replicator", **cluster.tls("postgres")}
        return {"name": name, "conninfo": " ".join(f"{key}={value}" for key, value in found.items())}
    return None


def _settings(plan: Plan) -> dict[str, Any]:
    """Patroni's dynamic configuration. Strict: with no second member a commit waits, and is never acknowledged alone."""
    value = {key: derived.value for key, derived in plan.values.items()}
    return {
        "ttl": value["cluster.ttl"],
        "loop_wait": value["cluster.loop_wait"],
        "retry_timeout": value["cluster.retry_timeout"],
        "synchronous_mode": True,
        "synchronous_mode_strict": True,
        "maximum_lag_on_failover": 0,
        # Kept on every member, so that the log goes on without a gap when another leads. None: Patroni takes the key away.
        "slots": {SLOT: {"type": "physical"}} if cluster.archive(plan.spec) else None,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": {"max_connections": value["store.max_connections"], "wal_level": "replica"},
        },
    }


def secrets(plan: Plan, host: HostPlan) -> dict[str, Secret]:
    """The host's own issuer, from the authority that the deploy keeps beside the spec."""
    if not cluster.identities(plan.spec, host.name):
        return {}
    return {
        f"{cluster.ISSUER}/root.pem": Secret("identity", "authority:root.pem", mode="0644"),
        f"{cluster.ISSUER}/host.pem": Secret("identity", f"authority:{host.name}.pem", mode="0644"),
        f"{cluster.ISSUER}/host.key": Secret("identity", f"authority:{host.name}.key"),
    }
