"""What the templates of a replicated store need, beyond what every host's do."""

from __future__ import annotations

import json
from typing import Any

from restante.plan import cluster, identity, post
from restante.plan.build import HostPlan, Plan

SLOT = "restante"  # as restante.server.backup.cluster calls it; a test compares them


def context(plan: Plan, host: HostPlan) -> dict[str, Any]:
    """`cluster` is None on hosts that are no members, `restored` on those that keep no backups of one."""
    member = host.is_store and plan.spec.store.replicated
    return {
        "cluster": _member(plan, host) if member else None,
        "restored": _archive(plan, host) if host.name in cluster.archive(plan.spec) else None,
    }


def _archive(plan: Plan, host: HostPlan) -> dict[str, Any]:
    values = {key: derived.value for key, derived in plan.values.items()}
    return {
        "conninfo": cluster.conninfo(plan.spec, values),
        "own": cluster.archive(plan.spec)[host.name],
        "port": cluster.RESTORED_PORT,
        "members": [(identity.name(plan.spec, name), at) for name, at in cluster.members(plan.spec).items()],
        "identity": f"{identity.IDENTITIES}/{cluster.BACKUP_USER}",
    }


def _member(plan: Plan, host: HostPlan) -> dict[str, Any]:
    members, own = cluster.members(plan.spec), f"{identity.IDENTITIES}/postgres"
    settings = _settings(plan)
    data = post.store_data(plan.spec, host.target.postgresql)
    document = {
        "own": host.name, "members": members, "etcd_port": cluster.ETCD_PORT, "patroni_port": cluster.PATRONI_PORT,
        "identity": own, "root": identity.ROOT, "version": host.target.postgresql, "data": data,
        "settings": settings, "archive": _restored_from(plan),
    }  # fmt: skip
    return {
        "own": cluster.join(members[host.name]),
        "members": {name: cluster.join(address) for name, address in members.items()},
        "member_names": [identity.name(plan.spec, name) for name in members],
        "office_names": [identity.name(plan.spec, name) for name in cluster.offices(plan.spec)],
        "etcd_port": cluster.ETCD_PORT,
        "etcd_peer_port": cluster.ETCD_PEER_PORT,
        "patroni_port": cluster.PATRONI_PORT,
        "identity": own,
        "data": data,
        "archive": [(identity.name(plan.spec, name), at) for name, at in cluster.archive(plan.spec).items()],
        "tls": ", ".join(f"{key}: {value}" for key, value in identity.libpq("postgres").items()),
        "settings": json.dumps(settings),
        "document": json.dumps(document, indent=2),
    }


def _restored_from(plan: Plan) -> dict[str, str] | None:
    """Where a member copies a restored store from (libpq, 34.1.1.1); None where the kit makes no backups."""
    for name, address in cluster.archive(plan.spec).items():
        found = {"host": address, "port": cluster.RESTORED_PORT, "user": "replicator", **identity.libpq("postgres")}
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
