"""Who talks to whom: routes with their upstream addresses, services by host, and the ports that this needs open."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from restante.plan import agents, cluster, floating, identity, post
from restante.spec.document import Path
from restante.spec.hosts import Host, Tier
from restante.spec.model import Route, Service, Spec

_SERVER = re.compile(r"(?P<host>\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")
_SOCKET = re.compile(r"unix:(?P<path>/run/[a-z0-9_-]+/[A-Za-z0-9._-]+)")
# Units and folders below /run of Debian and of the kit itself.
RESERVED = re.compile(
    r"(systemd|restante|postfix|postgresql|dbus|ssh|user|getty|udev).*|nginx|nftables|cron|networking|lock|log|credentials|mount"
)
EDGE_PORTS = (80, 443)
STATUS_PORT = 8090  # loopback only: status and generation of the running nginx


@dataclass(frozen=True)
class Upstream:
    """One place a route goes to. `address` is what nginx dials; `host` is its name in the spec, if it has one."""

    address: str
    host: str | None
    port: int | None


@dataclass(frozen=True)
class RoutePlan:
    """A route with its upstreams resolved. `name` is the nginx upstream's name. `tls`: they are post offices on other hosts."""

    path: str
    kind: str
    name: str
    upstreams: tuple[Upstream, ...]
    tls: bool


@dataclass(frozen=True, order=True)
class Opening:
    """A TCP port of a host. `source`: an address or network, or "" for everywhere."""

    port: int
    source: str
    because: str


class Unresolved(Exception):  # noqa: N818 - a sentence on its way to a Problem, never shown by itself
    """An upstream that leads nowhere; str() is the sentence."""


def resolve(spec: Spec, route: Route, index: int) -> RoutePlan:
    """Raises Unresolved with the first upstream that leads nowhere. `index` keeps names apart: /a-b is not /a_b."""
    name = f"restante_{index}_{re.sub(r'[^a-z0-9]+', '_', route.path.lower()).strip('_') or 'root'}"
    upstreams = tuple(found for text in route.upstreams for found in _upstreams(spec, text))
    tls = any(_is_office(spec, each) for each in upstreams)
    if tls and not all(_is_office(spec, each) for each in upstreams):
        raise Unresolved("a route goes to post offices, whose certificates the edge checks, or elsewhere, not both")
    return RoutePlan(route.path, route.kind, name, upstreams, tls)


def _is_office(spec: Spec, upstream: Upstream) -> bool:
    """A post office as it is reached over the network."""
    return upstream.port == post.HTTP_PORT and upstream.host in spec.hosts_of(Tier.post)


def _upstreams(spec: Spec, text: str) -> Iterator[Upstream]:
    if socket := _SOCKET.fullmatch(text):
        _on_every_edge(spec, socket["path"])
        yield Upstream(text, None, None)
        return
    match = _SERVER.fullmatch(text)
    if not match or not 0 < int(match["port"]) < 65536:
        raise Unresolved(f"'{text}' is not an upstream; accepted: HOST:PORT, ADDRESS:PORT or unix:/run/NAME/FILE.sock")
    port = int(match["port"])
    name = match["host"]
    if name in spec.hosts:
        _listens(spec, name, port)
        host = spec.hosts[name]
        yield Upstream(_join(_reachable(spec, name, host), port), name, port)
        return
    try:
        address = str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        raise Unresolved(
            f"'{name}' is neither a host of this spec ({', '.join(list(spec.hosts)[:8])}) nor an IP address; nginx would look "
            "a name up once, at start"
        ) from None
    known = owner(spec, address)
    if known:
        _listens(spec, known, port)
    elif port in {*EDGE_PORTS, STATUS_PORT} and (
        ipaddress.ip_address(address).is_loopback or address in floating.addresses(spec)
    ):
        raise Unresolved(f"{text} is the edge itself: requests would go round for ever; name the program behind it")
    yield Upstream(_join(address, port), known, port)


def _reachable(spec: Spec, name: str, host: Host) -> str:
    """The host's address in a family that every edge has too."""
    edges = [spec.hosts[edge] for edge in spec.hosts_of(Tier.edge)]
    if host.ipv4 and all(edge.ipv4 for edge in edges):
        return host.ipv4
    if host.ipv6 and all(edge.ipv6 for edge in edges):
        return host.ipv6
    raise Unresolved(
        f"{name} and the edges have no address family in common; give each of them an ipv4, or each an ipv6"
    )


def owner(spec: Spec, address: str) -> str | None:
    return next((name for name, host in spec.hosts.items() if address in host.addresses), None)


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _listens(spec: Spec, host: str, port: int) -> None:
    if host in spec.hosts_of(Tier.edge) and port in {*EDGE_PORTS, STATUS_PORT}:
        raise Unresolved(
            f"{host}:{port} is the edge itself: requests would go round for ever; name the program behind it"
        )
    ports = [listen for service in services_of(spec, host).values() for listen in service.listens]
    ports += post.ports(spec, host)
    if ports and port not in ports:
        raise Unresolved(
            f"no service on {host} listens on port {port}; its services listen on {', '.join(map(str, ports))}"
        )


def _on_every_edge(spec: Spec, path: str) -> None:
    for edge in spec.hosts_of(Tier.edge):
        services = services_of(spec, edge)
        if services and not any(path in service.listens for service in services.values()):
            raise Unresolved(f"no service on {edge} listens on {path}; add it to listens, or use HOST:PORT")


def services_of(spec: Spec, host: str) -> dict[str, Service]:
    """Those of one host, as they run there."""
    return {
        name: agents.wired(spec, host, name, service) for name, service in spec.services.items() if host in service.host
    }


def identities(spec: Spec, host: str) -> list[str]:
    """Users of a host that prove to other hosts by certificate who they are."""
    tiers, replicated = spec.hosts[host].tiers, spec.store.replicated
    users = ["etcd", "postgres"] if Tier.store in tiers and replicated else []
    if Tier.post in tiers and (replicated or post.secured_addresses(spec, host)):
        users.append(cluster.OFFICE_USER)
    return users + [cluster.BACKUP_USER] * (host in cluster.archive(spec))


def certified(spec: Spec, host: str) -> list[str]:
    """Names and addresses that the host's certificates are for."""
    office = Tier.post in spec.hosts[host].tiers and post.secured_addresses(spec, host)
    names = [identity.name(spec, host), *([identity.tier_name(spec, Tier.post)] if office else [])]
    return [*names, *spec.hosts[host].addresses]


def openings(spec: Spec, name: str, routes: tuple[RoutePlan, ...]) -> tuple[Opening, ...]:
    """Everything that must be reachable on a host, and from where."""
    host = spec.hosts[name]
    found = [Opening(host.ssh.port, source, "ssh, never locked out") for source in spec.firewall.ssh_from or ("",)]
    if Tier.edge in host.tiers:
        found += [Opening(port, "", "the edge") for port in EDGE_PORTS]
    if Tier.post in host.tiers:
        found.append(Opening(post.SMTP_PORT, "", "mail"))
    if Tier.store in host.tiers:
        found += [
            Opening(cluster.STORE_PORT, address, f"store of {name}") for name, address in post.store_clients(spec)
        ]
        found += [
            Opening(int(port), address, f"{program} of the cluster, for {other}")
            for other, address in cluster.members(spec).items() if other != name
            for port, program in cluster.ports().items()
        ]  # fmt: skip
    found += _of_backups(spec, name)
    for port in sorted({up.port for route in routes for up in route.upstreams if up.host == name and up.port}):
        found += [Opening(port, address, f"upstream of {edge}") for edge, address in _edge_addresses(spec)]
    found += [Opening(allow.port, allow.source or "", allow.because) for allow in spec.firewall.allow]
    return tuple(dict.fromkeys(found))


def _of_backups(spec: Spec, name: str) -> list[Opening]:
    """The archive comes for copies and for the log; after a restore the members come to it."""
    members, archive = cluster.members(spec), cluster.archive(spec)
    comes = archive if name in members else {}
    gives = members if name in archive else {}
    return [
        *(
            Opening(cluster.STORE_PORT, address, f"store of {name}, for backups on {it}")
            for it, address in comes.items()
        ),
        *(Opening(cluster.RESTORED_PORT, address, f"what {name} restored, for {it}") for it, address in gives.items()),
    ]


def _edge_addresses(spec: Spec) -> list[tuple[str, str]]:
    return [(edge, address) for edge in spec.hosts_of(Tier.edge) for address in spec.hosts[edge].addresses]


def problems(spec: Spec) -> Iterator[tuple[Path, str]]:
    """What does not fit together, each with its place."""
    yield from _addresses(spec)
    yield from _tiers(spec)
    yield from floating.problems(spec)
    yield from post.problems(spec)
    yield from _routes(spec)
    yield from _services(spec)


def _addresses(spec: Spec) -> Iterator[tuple[Path, str]]:
    seen: dict[str, str] = {}
    for name, host in spec.hosts.items():
        if name in {"all", "ungrouped", "localhost"}:
            yield (
                ("hosts", name),
                f"'{name}' has a meaning of its own in Ansible's inventory; give the host another name",
            )
        for field in ("ipv4", "ipv6"):
            address = getattr(host, field)
            if address and (other := seen.setdefault(address, name)) != name:
                yield ("hosts", name, field), f"{address} is {other}'s address already; every host needs its own"


def _tiers(spec: Spec) -> Iterator[tuple[Path, str]]:
    edges = spec.hosts_of(Tier.edge)
    if edges and not spec.edge and not spec.hosts_of(Tier.post):
        yield ("hosts", edges[0], "tiers"), "this host is an edge, and the spec has no edge: section; add edge.routes"
    if edges and not spec.tls:
        yield (
            ("hosts", edges[0], "tiers"),
            "this host is an edge, and the spec has no tls: section; give certificate and key",
        )
    if spec.edge and not post.routes(spec) and edges:
        yield (
            ("edge",),
            "no route is given, and no host has the tier post, whose routes are there by themselves; add edge.routes",
        )
    if spec.edge and not edges:
        yield ("edge",), "routes are given, and no host has the tier edge; add it to a host's tiers"


def _routes(spec: Spec) -> Iterator[tuple[Path, str]]:
    seen: dict[str, int] = {}
    own = len(spec.edge.routes) if spec.edge else 0
    for index, route in enumerate(post.routes(spec)):
        place: Path = ("edge", "routes", index) if index < own else ("inboxes",)
        key = route.path.rstrip("/") or "/"
        if key in seen:
            yield (
                (*place, "path"),
                f"{route.path} is shadowed by route {seen[key] + 1}, which has the same path; keep one of them",
            )
        seen.setdefault(key, index)
        for number, text in enumerate(route.upstreams):
            try:
                list(_upstreams(spec, text))
            except Unresolved as reason:
                where: Path = ("upstreams", number) if len(route.upstreams) > 1 else ("upstreams",)
                yield (*place, *where) if index < own else place, str(reason)


def _services(spec: Spec) -> Iterator[tuple[Path, str]]:
    for name, service in spec.services.items():
        for host in service.host:
            if host not in spec.hosts:
                yield ("services", name, "host"), f"there is no host '{host}'; accepted: {', '.join(spec.hosts)}"
        for path in service.files:
            if not path.startswith("/opt/"):
                yield (
                    ("services", name, "files", path),
                    f"{path} is outside /opt; a service's carried files go below /opt",
                )
        if service.user == "root":
            yield ("services", name, "user"), "a service may not run as root; name a user of its own"
        if RESERVED.fullmatch(name):
            yield (
                ("services", name),
                f"{name}.service is a unit of the system or of the kit; give the service another name",
            )
    for host in spec.hosts:
        yield from _port_clashes(spec, host, spec.hosts[host])


def _port_clashes(spec: Spec, name: str, host: Host) -> Iterator[tuple[Path, str]]:
    taken: dict[int | str, str] = {**post.ports(spec, name)}
    if Tier.edge in host.tiers:
        taken |= dict.fromkeys((*EDGE_PORTS, STATUS_PORT), "nginx")
    if (other := taken.setdefault(host.ssh.port, "sshd")) != "sshd":
        yield ("hosts", name, "ssh", "port"), f"{host.ssh.port} is {other}'s there; sshd needs another port"
    for service, entry in services_of(spec, name).items():
        yield from _claims(name, service, entry, taken)
        for listen in entry.listens:
            if (other := taken.setdefault(listen, service)) != service:
                yield ("services", service, "listens"), f"{listen} is taken on {name} by {other}; choose another"


def _claims(host: str, service: str, entry: Service, taken: dict[int | str, str]) -> Iterator[tuple[Path, str]]:
    """Folders below /run and carried files belong to one service alone: systemd removes the former when it stops."""
    folders = {listen.rpartition("/")[0] for listen in entry.listens if isinstance(listen, str)}
    for folder in folders:
        if RESERVED.fullmatch(folder.removeprefix("/run/")):
            yield ("services", service, "listens"), f"{folder} is the system's; choose /run/{service} or another"
    for place in (*folders, *entry.files):
        if (other := taken.setdefault(place, service)) != service:
            yield ("services", service), f"{place} on {host} is {other}'s already; two services cannot share it"
