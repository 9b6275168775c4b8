"""What the templates need by which hosts show each other who they are."""

from __future__ import annotations

from typing import Any

from restante.plan import cluster, identity, topology
from restante.plan.build import HostPlan, Plan
from restante.render.manifest import Secret
from restante.spec.hosts import Tier

MEMBERS = f"{identity.ISSUER}/members.pem"  # whom etcd believes: members' issuers, and no other host's
OFFICES = "/etc/restante/tls/offices.pem"  # whom an edge believes that it is a post office


def context(plan: Plan, host: HostPlan) -> dict[str, Any]:
    names = topology.certified(plan.spec, host.name)
    subjects = (f"{'IP' if each in host.host.addresses else 'DNS'}:{each}" for each in names)
    return {
        "issuer": identity.ISSUER,
        "identities": identity.IDENTITIES,
        "identity_users": topology.identities(plan.spec, host.name),
        "identity_name": identity.name(plan.spec, host.name),
        "certified": names,
        "subject_names": ", ".join(subjects),
        "believed_offices": OFFICES if asks_offices(plan, host) else None,
        "offices_name": identity.tier_name(plan.spec, Tier.post),
        "offices_at": offices_at(plan),
        "members_root": MEMBERS,
    }


def offices_at(plan: Plan) -> list[str]:
    """Where edges find post offices on other hosts, by TLS."""
    return sorted({upstream.address for route in plan.routes if route.tls for upstream in route.upstreams})


def asks_offices(plan: Plan, host: HostPlan) -> bool:
    """Whether it is an edge whose post offices are other hosts."""
    return host.is_edge and any(route.tls for route in plan.routes)


def secrets(plan: Plan, host: HostPlan) -> dict[str, Secret]:
    """The host's own issuer, from the authority that the deploy keeps beside the spec; an edge needs to know its root."""
    found = {OFFICES: Secret("nginx", "authority:root.pem", mode="0644")} if asks_offices(plan, host) else {}
    if not topology.identities(plan.spec, host.name):
        return found
    if host.name in cluster.members(plan.spec):
        found |= {MEMBERS: Secret("etcd", "authority:members.pem", mode="0644")}
    return found | {
        identity.ROOT: Secret("identity", "authority:root.pem", mode="0644"),
        f"{identity.ISSUER}/host.pem": Secret("identity", f"authority:{host.name}.pem", mode="0644"),
        f"{identity.ISSUER}/host.key": Secret("identity", f"authority:{host.name}.key"),
    }
