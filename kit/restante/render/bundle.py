"""Plan -> bundle: a map of relative path to bytes. Nothing is written here; write.py does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

from restante import resources
from restante.plan import floating, identity, office, post, tls, topology
from restante.plan.build import Plan
from restante.render import inventory
from restante.render.host import about, render_host
from restante.render.identity import OFFICES, offices_at
from restante.render.manifest import FORMAT, digest, host_manifest, to_json
from restante.spec import nginx_syntax
from restante.spec.hosts import Tier
from restante.spec.model import Edge

Bundle = dict[str, bytes]


def render_bundle(plan: Plan) -> Bundle:
    """Same plan, same bytes, in the same order."""
    bundle: Bundle = {}
    for host in plan.hosts.values():
        files, secrets, components = render_host(plan, host)
        root = f"hosts/{host.name}"
        bundle |= {f"{root}{path}": file.content for path, file in files.items()}
        bundle[f"{root}/manifest.json"] = host_manifest(about(plan, host), files, secrets, components)
    bundle |= {
        "inventory.yml": inventory.inventory(plan),
        "known_hosts": inventory.known_hosts(plan),
        "plan.json": to_json(plan_document(plan)),
        **shipped(),
    }
    digests = {path: digest(content) for path, content in sorted(bundle.items())}
    bundle["manifest.json"] = to_json({"format": FORMAT, "files": digests})
    return bundle


def plan_document(plan: Plan) -> dict[str, object]:
    """The plan as data: what `explain --json` prints and the checks expect."""
    spec = plan.spec
    return {
        "domain": spec.domain,
        "agents": spec.agents,
        "token_header": (spec.edge or Edge()).token_header,
        "values": {key: asdict(value) for key, value in plan.values.items()},
        "chain": [{**asdict(rule), "holds": rule.holds} for rule in plan.rules],
        "path": [asdict(hop) for hop in plan.path],
        "routes": [asdict(route) for route in plan.routes],
        "tls": {
            "lab": bool(spec.tls and spec.tls.lab),
            "certificate": tls.files(spec)[0],
            "served": tls.SERVED,
            **asdict(plan.tls_profile),
        },
        "firewall": spec.firewall.enabled,
        "floating": floating.addresses(spec),
        "mail": _mail(plan),
        "offices": _offices(plan),
        "authority": {
            name: {"names": topology.certified(spec, name), "users": users}
            for name in spec.hosts
            if (users := topology.identities(spec, name))
        },
        "waivers": [waiver.model_dump() for waiver in spec.waivers],
        "hosts": {
            name: {
                "addresses": host.host.addresses,
                "os": host.host.os.value,
                "tiers": [tier.value for tier in host.host.tiers],
                "ssh_port": host.host.ssh.port,
                "target": asdict(host.target),
                "backup": plan.spec.store.backup.directory if host.keeps_backups else None,
                "openings": [asdict(opening) for opening in host.openings],
                "vrrp_peers": host.floating.peers if host.floating else (),
                "services": {unit: service.model_dump(mode="json") for unit, service in host.services.items()},
            }
            for name, host in plan.hosts.items()
        },
    }


def _offices(plan: Plan) -> dict[str, object] | None:
    """Post offices that edges reach over the network: where, and what they must show; None without any."""
    at = offices_at(plan)
    return {"at": at, "name": identity.tier_name(plan.spec, Tier.post), "root": OFFICES} if at else None


def _mail(plan: Plan) -> dict[str, object] | None:
    """What the checks of mail ask about; None without post hosts."""
    inboxes = plan.spec.inboxes
    if not inboxes:
        return None
    return {
        "domains": inboxes.domains,
        "predefined": post.predefined(inboxes),
        "engine": office.engine(plan.spec),
        "server": plan.server,
        "http": {name: post.http_addresses(plan.spec, name) for name, host in plan.hosts.items() if host.is_post},
    }


@cache
def shipped() -> Bundle:
    """What every bundle carries as it is: the playbook, its roles, and the checks."""
    bundle = dict([*_tree(resources.roles(), "roles"), *_tree(resources.checks(), "checks")])
    del bundle["checks/__init__.py"]  # pytest takes DIR/checks for a plain folder then, with its modules on the path
    return {
        **bundle,
        "site.yml": bundle.pop("roles/site.yml"),
        "checks/nginx_syntax.py": Path(nginx_syntax.__file__).read_bytes(),
    }


def _tree(root: Path, name: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inside):
            yield f"{name}/{path.relative_to(root)}", path.read_bytes()
