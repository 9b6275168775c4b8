"""One host's files: every template of its components, in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import Any

from restante import resources
from restante.plan import agents, floating, post, tls
from restante.plan.build import HostPlan, Plan
from restante.plan.facts import EXPIRY_WARNING_DAYS
from restante.plan.topology import EDGE_PORTS, STATUS_PORT
from restante.render import cluster, components, identity, mail
from restante.render.environment import render, why
from restante.render.manifest import Component, File, Secret, generation
from restante.spec.model import Edge, Service, Snippet

SECRETS = "/etc/restante"


def render_host(plan: Plan, host: HostPlan) -> tuple[dict[str, File], dict[str, Secret], list[Component]]:
    files: dict[str, File] = {}
    made: list[Component] = []
    for component in components.of_host(plan, host):
        own, number = _render_component(plan, host, component)
        files |= own
        made.append(components.with_generation(component, number))
    return files, _secrets(plan, host), made


def _render_component(plan: Plan, host: HostPlan, component: Component) -> tuple[dict[str, File], str]:
    """The files, and their generation: what carries it is rendered twice, and counts as it is without it."""
    context = _context(plan, host)
    folder, name = component.name, ""
    if folder.startswith("service-"):
        folder, name = "services", folder.removeprefix("service-")
        context |= _service_context(plan, name, host.services[name])
    files = dict(_carried(plan, host, component, name))
    late: list[tuple[str, str]] = []
    for path in _templates(folder):
        target = _target(path, host, name)
        if not _wanted(plan, host, target):
            continue
        text = render(f"{folder}/{path}.j2", {**context, "generation": ""})
        files[target] = _file(component, target, text)
        if _carries_generation(f"{folder}/{path}.j2"):
            late.append((target, f"{folder}/{path}.j2"))
    number = generation(files.items())
    for target, template in late:
        files[target] = _file(component, target, render(template, {**context, "generation": number}))
    return files, number


def _target(path: str, host: HostPlan, service: str) -> str:
    """The place on the host; a template's path names in brackets what differs."""
    for mark, text in {
        "[service]": service,
        "[postfix]": host.target.postfix,
        "[postgresql]": host.target.postgresql,
    }.items():
        path = path.replace(mark, text)
    return f"/{path}"


@cache
def _carries_generation(template: str) -> bool:
    return "{{ generation }}" in (resources.templates() / template).read_text()


@cache
def _templates(folder: str) -> tuple[str, ...]:
    root = resources.templates() / folder
    return tuple(sorted(str(path.relative_to(root)).removesuffix(".j2") for path in root.rglob("*.j2")))


def _wanted(plan: Plan, host: HostPlan, target: str) -> bool:
    if "restante-beat" in target:
        return bool(plan.spec.alert and plan.spec.alert.beat)
    if target.endswith("/restante-backup.path"):
        return plan.spec.store.engine != "sqlite"
    if target.endswith("/restante-edge.socket"):
        return bool(post.secured_addresses(plan.spec, host.name))
    if target.endswith("/restante-wal.conf"):
        return host.is_store
    if target.endswith("/move-sockets"):
        return identity.asks_offices(plan, host)
    return not target.endswith("/restart-delay") or not host.target.restart_steps


def _file(component: Component, target: str, text: str) -> File:
    if target == "/etc/restante/restante.toml":
        return File(component.name, text.encode(), "0640", group=mail.USER)
    if target.startswith("/etc/postgresql/") and target.endswith("/pg_hba.conf"):
        return File(component.name, text.encode(), "0640", "postgres", "postgres")
    return File(component.name, text.encode(), "0755" if target.startswith(components.PROGRAMS) else "0644")


def _carried(plan: Plan, host: HostPlan, component: Component, name: str) -> Iterator[tuple[str, File]]:
    for target, reference in host.services[name].files.items() if name else ():
        program = target == host.services[name].exec[0]
        yield target, File(component.name, plan.files[reference], "0755" if program else "0644")


def _secrets(plan: Plan, host: HostPlan) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    given, alert = plan.spec.tls, plan.spec.alert
    if (host.is_edge or host.is_post) and given and not (given.certificate or "").startswith("host:"):
        chain, key = tls.files(plan.spec)
        found[chain] = Secret("certificate", given.certificate or "env:RESTANTE_LAB_CERTIFICATE", mode="0644")
        found[key] = Secret("certificate", given.key or "env:RESTANTE_LAB_KEY")
    for kind in ("webhook", "beat"):
        if reference := getattr(alert, kind, None):
            # The post office tells alerts too, and is not root.
            found[_alert_file(kind)] = (
                Secret("alert", reference, mode="0640", group=mail.USER) if host.is_post else Secret("alert", reference)
            )
    for name, service in host.services.items():
        for credential, reference in service.credentials.items():
            found[f"{SECRETS}/credentials/{name}/{credential}"] = Secret(f"service-{name}", reference)
    return found | mail.secrets(plan, host) | identity.secrets(plan, host)


def _alert_file(kind: str) -> str:
    return f"{SECRETS}/credentials/alert/{kind}"


def _alert_config(plan: Plan) -> str:
    alert = plan.spec.alert
    config: dict[str, Any] = {"command": list(alert.command)} if alert and alert.command else {}
    config |= {kind: _alert_file(kind) for kind in ("webhook", "beat") if getattr(alert, kind, None)}
    return json.dumps(config, sort_keys=True)


def _service_context(plan: Plan, name: str, service: Service) -> dict[str, Any]:
    sockets = [item for item in service.listens if isinstance(item, str)]
    return {
        "name": name,
        "service": service,
        "sdk_folder": mail.folder(plan) if agents.carries_sdk(service) else "",
        "runtime_directories": sorted({str(PurePosixPath(path).parent).removeprefix("/run/") for path in sockets}),
    }


def _context(plan: Plan, host: HostPlan) -> dict[str, Any]:
    certificate, key = tls.files(plan.spec)
    edge = plan.spec.edge or Edge()
    return {
        "plan": plan,
        "host": host,
        "v": lambda name: plan.values[name].value,
        "why": lambda name: why(plan.values[name]),
        "snippets": lambda context: _snippets(plan, context),
        "source_match": _source_match,
        "token_variable": edge.token_header.lower().replace("-", "_"),
        "http2_parameter": "" if host.target.http2_directive else " http2",
        "certificate": certificate,
        "key": key,
        "served": tls.SERVED,
        "alert_config": _alert_config(plan),
        "status_port": STATUS_PORT,
        "listening_ports": _listening(plan, host),
        "floating": floating.addresses(plan.spec),
        "expiry_days": EXPIRY_WARNING_DAYS,
        "expiry_seconds": EXPIRY_WARNING_DAYS * 86400,
        **mail.context(plan, host),
        **cluster.context(plan, host),
        **identity.context(plan, host),
    }


def _listening(plan: Plan, host: HostPlan) -> list[int]:
    ports = {item for service in host.services.values() for item in service.listens if isinstance(item, int)}
    ports |= {port for port in post.ports(plan.spec, host.name) if isinstance(port, int)}
    ports |= {host.host.ssh.port, *(allow.port for allow in plan.spec.firewall.allow)}
    return sorted(ports | ({*EDGE_PORTS, STATUS_PORT} if host.is_edge else set()))


def _snippets(plan: Plan, context: str) -> list[Snippet]:
    return [snippet for snippet in plan.spec.overrides.nginx if snippet.context == context]


def _source_match(source: str) -> str:
    if not source:
        return ""
    return f"ip6 saddr {source} " if ":" in source else f"ip saddr {source} "


def about(plan: Plan, host: HostPlan) -> dict[str, Any]:
    """What the manifest says about the host itself."""
    users = {service.user for service in host.services.values()} - {"www-data", "nobody"}
    users |= mail.users(plan, host)
    return {
        "host": host.name,
        "os": host.host.os.value,
        "arch": host.host.arch,
        "packages": components.packages(plan, host),
        "users": sorted(users),
        "trees": mail.trees(plan, host),
    }
