"""Spec and facts in, plan out; or every reason why it cannot work, each at its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from restante.errors import Problem, SpecError
from restante.plan import backup, cluster, floating, identity, mail, post, profiles, sizing, timeouts, topology
from restante.plan.derived import Derived, Rule, Values
from restante.plan.facts import EXPIRY_WARNING_DAYS, Facts
from restante.plan.floating import Candidate
from restante.plan.profiles import Middlebox
from restante.plan.targets import TARGETS, Target
from restante.plan.tls import PROFILES, TlsProfile
from restante.plan.topology import Opening, RoutePlan
from restante.spec import nginx_syntax
from restante.spec.document import Path
from restante.spec.hosts import Host, Tier
from restante.spec.load import Loaded
from restante.spec.model import Service, Spec

FOLLOWS = {
    "heartbeat.detection": "heartbeat.interval, pong_timeout or misses",
    "heartbeat.server_silence": "heartbeat.interval",
    "edge.memory": "agents",
    "floating.takeover": "floating.advert_interval",
    "floating.giveaway": "floating.check_interval, check_misses or advert_interval",
}


@dataclass(frozen=True)
class HostPlan:
    """What one host is to be."""

    name: str
    host: Host
    target: Target
    services: Mapping[str, Service]
    openings: tuple[Opening, ...]
    floating: Candidate | None
    keeps_backups: bool

    @property
    def is_edge(self) -> bool:
        return Tier.edge in self.host.tiers

    @property
    def is_post(self) -> bool:
        return Tier.post in self.host.tiers

    @property
    def is_store(self) -> bool:
        return Tier.store in self.host.tiers

    @property
    def has_verbs(self) -> bool:
        """The post office's code, and with it the command `restante`, is brought to it."""
        return self.is_post or self.is_store or self.keeps_backups


@dataclass(frozen=True)
class Plan:
    """Everything that follows from a spec. `notes` are sentences that refuse nothing."""

    spec: Spec
    path: tuple[Middlebox, ...]
    values: Mapping[str, Derived]
    rules: tuple[Rule, ...]
    routes: tuple[RoutePlan, ...]
    tls_profile: TlsProfile
    hosts: Mapping[str, HostPlan]
    files: Mapping[str, bytes]
    server: str
    notes: tuple[str, ...]


def build(loaded: Loaded, facts: Facts) -> Plan:
    """Raises SpecError with every problem."""
    spec = loaded.spec
    path, unknown = profiles.resolve(spec.path)
    found: list[tuple[Path, str]] = [(("path", index), sentence) for index, sentence in unknown.items()]
    found += [
        *topology.problems(spec),
        *backup.problems(spec),
        *_secrets(spec, facts),
        *_certificate(spec, facts),
        *_snippets(spec),
        *_waivers(spec, facts),
    ]
    if found:
        raise _refuse(loaded, found)
    routes = tuple(topology.resolve(spec, route, index) for index, route in enumerate(post.routes(spec)))
    values = Values(spec.overrides.values)
    rules = timeouts.derive(spec, path, values)
    addresses = {route.path: sum(1 for up in route.upstreams if up.port) for route in routes}
    need = sizing.demand(spec, addresses, tls=any(route.tls for route in routes))
    sizing.derive(spec, need, values)
    rules += [*mail.derive(spec, values), *cluster.derive(spec, values)]
    if any(topology.identities(spec, name) for name in spec.hosts):
        identity.derive(values)
    backup.derive(spec, values)
    floating.derive(spec, values)
    found += [(_spec_path(rule.spec_key), rule.sentence()) for rule in rules if not rule.holds]
    found += [
        *sizing.problems(spec, need, values),
        *mail.problems(spec, values),
        *floating.limits(values),
        *_overrides(spec, values),
    ]
    if found:
        raise _refuse(loaded, found)
    return Plan(
        spec, tuple(path), values.table, tuple(rules), routes,
        PROFILES[spec.edge.tls_profile if spec.edge else "intermediate"],
        {name: _host(spec, name, routes) for name in spec.hosts},
        facts.files, facts.server, tuple(_notes(spec, path, facts)),
    )  # fmt: skip


def _host(spec: Spec, name: str, routes: tuple[RoutePlan, ...]) -> HostPlan:
    host = spec.hosts[name]
    return HostPlan(
        name,
        host,
        TARGETS[host.os],
        topology.services_of(spec, name),
        topology.openings(spec, name, routes),
        floating.candidate(spec, name),
        backup.host(spec) == name,
    )


def _refuse(loaded: Loaded, found: list[tuple[Path, str]]) -> SpecError:
    problems: list[Problem] = [loaded.document.problem(path, sentence) for path, sentence in found]
    return SpecError(loaded.document.file, problems)


def _spec_path(key: str) -> Path:
    if key.startswith("overrides.values."):
        return ("overrides", "values", key.removeprefix("overrides.values."))
    return tuple(key.split("."))


def _secrets(spec: Spec, facts: Facts) -> Iterator[tuple[Path, str]]:
    for path, reference in references(spec):
        if reason := facts.unreadable.get(reference):
            yield path, f"{reference} cannot be read: {reason}; relative paths start at the spec's folder"


def references(spec: Spec) -> Iterator[tuple[Path, str]]:
    """Every reference to something outside the spec, secret or not, with its place."""
    for field in ("certificate", "key"):
        reference = getattr(spec.tls, field, None)
        if reference and not reference.startswith("host:"):
            yield ("tls", field), reference
    for field in ("webhook", "beat"):
        if reference := getattr(spec.alert, field, None):
            yield ("alert", field), reference
    for field in ("url", "password"):
        if reference := getattr(spec.store, field):
            yield ("store", field), reference
    for name, service in spec.services.items():
        for path, reference in _service_references(service):
            yield ("services", name, *path), reference


def _service_references(service: Service) -> Iterator[tuple[Path, str]]:
    for field in ("credentials", "files"):
        for name, reference in getattr(service, field).items():
            yield (field, name), reference
    if service.agent:
        yield ("agent", "token"), service.agent.token


def _certificate(spec: Spec, facts: Facts) -> Iterator[tuple[Path, str]]:
    leaf = facts.certificate
    if not leaf:
        return
    if facts.key and facts.key != leaf.public_key:
        yield (
            ("tls", "key"),
            "this key does not belong to the certificate in tls.certificate; give the key it was issued for",
        )
    if facts.now and leaf.not_after <= facts.now:
        yield ("tls", "certificate"), f"this certificate expired on {leaf.not_after:%Y-%m-%d}; renew it first"
    if not any(_covers(name, spec.domain) for name in leaf.names):
        yield (
            ("tls", "certificate"),
            f"this certificate is for {', '.join(leaf.names) or 'no name'}, not for {spec.domain}",
        )


def _covers(name: str, domain: str) -> bool:
    return name == domain or (name.startswith("*.") and domain.partition(".")[2] == name[2:])


def _snippets(spec: Spec) -> Iterator[tuple[Path, str]]:
    routes = {f"location:{route.path}" for route in post.routes(spec)}
    for index, snippet in enumerate(spec.overrides.nginx):
        place: Path = ("overrides", "nginx", index)
        if snippet.context.startswith("location:") and snippet.context not in routes:
            yield (
                (*place, "context"),
                f"there is no route for {snippet.context}; accepted: http, server, {', '.join(sorted(routes))}",
            )
        try:
            nginx_syntax.parse(snippet.directives)
        except nginx_syntax.NotNginx as reason:
            yield (
                (*place, "directives"),
                f"these are not whole nginx directives: {reason}; a snippet may not reach out of its context",
            )


def _waivers(spec: Spec, facts: Facts) -> Iterator[tuple[Path, str]]:
    for index, waiver in enumerate(spec.waivers):
        if facts.checks and waiver.check not in facts.checks:
            near = difflib.get_close_matches(waiver.check, facts.checks, 1, 0.5)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            yield (
                ("waivers", index, "check"),
                f"there is no check '{waiver.check}'{hint}; docs/reference/checks.md lists them",
            )
        if waiver.host and waiver.host not in spec.hosts:
            yield ("waivers", index, "host"), f"there is no host '{waiver.host}'; accepted: {', '.join(spec.hosts)}"


def _overrides(spec: Spec, values: Values) -> Iterator[tuple[Path, str]]:
    for key in spec.overrides.values:
        if key in FOLLOWS:
            yield ("overrides", "values", key), f"{key} follows from other values; override {FOLLOWS[key]} instead"
        if key not in values.table:
            near = difflib.get_close_matches(key, values.table, 1, 0.5)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            yield (
                ("overrides", "values", key),
                f"no value is derived under this key{hint}; 'restante explain' lists them",
            )


def _notes(spec: Spec, path: list[Middlebox], facts: Facts) -> Iterator[str]:
    if spec.hosts_of(Tier.post) and not post.alone(spec) and not spec.firewall.enabled:
        yield "the firewall is off: who may reach the post office's HTTP and the store is left to your own rules"
    if spec.store.replicated and spec.store.backup.enabled and not spec.store.backup.host:
        yield "the cluster has no backups, and replication repeats mistakes too: name the host that keeps them in store.backup.host"
    for family in floating.unreached(spec):
        yield f"the edges have {family}, and edge.floating no address of it: agents cannot reach the domain over {family}"
    for domain in post.without_postmaster(spec):
        yield f"no inbox postmaster@{domain} is predefined, and RFC 5321 4.5.1 wants one: its mail is refused"
    for hop in path:
        if hop.confidence == "recalled":
            yield f"path profile {hop.id} is recalled, not read from its vendor: check {hop.source} before relying on it"
    if (
        facts.certificate
        and facts.now
        and (left := (facts.certificate.not_after - facts.now).days) < EXPIRY_WARNING_DAYS
    ):
        yield f"the certificate has {left} days left; renew it"
