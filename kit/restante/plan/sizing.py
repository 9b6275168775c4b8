"""Sizes that follow from the number of agents. What cannot work is refused with both numbers and a value that would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from restante.plan import floating
from restante.plan.derived import Values
from restante.spec.document import Path
from restante.spec.hosts import Tier
from restante.spec.model import Spec

# New TLS connections that one small edge takes beside its work: assumed, on the cautious side; not measured.
ACCEPTS_PER_SECOND = 200
# One idle tunnel of nginx with TLS, and what TLS behind it adds: bench/sockets.py measured 67 and 29 KiB over 400; a fifth to spare.
TUNNEL_BYTES, BEHIND_BYTES = 80 << 10, 36 << 10
BASE_BYTES = 256 << 20  # the system, nginx and its caches before the first agent
DEFAULT_PORTS = 28_232  # ip_local_port_range 32768-60999
WIDEST_PORTS = 64_512  # 1024-65535
SPARE = 1024  # plain requests, log files, listening sockets


@dataclass(frozen=True)
class Demand:
    """Tunnels per edge when one edge is away, and the largest number between one edge and one TCP upstream address.

    `edges`: those that serve at once. Who holds the floating address serves everybody. `tunnel_bytes`: memory of one tunnel.
    """

    edges: int
    tunnels: int
    per_upstream: int
    tunnel_bytes: int


def demand(spec: Spec, addresses_of: Mapping[str, int], *, tls: bool) -> Demand:
    """`addresses_of`: route path -> number of its TCP upstream addresses (0: unix sockets only). `tls`: towards upstreams too."""
    edges = 1 if floating.addresses(spec) else len(spec.hosts_of(Tier.edge))
    tunnels = -(-spec.agents // max(1, edges - 1))
    sockets = [tunnels // addresses for addresses in addresses_of.values() if addresses]
    return Demand(edges, tunnels, max(sockets, default=0), TUNNEL_BYTES + BEHIND_BYTES * tls)


def derive(spec: Spec, need: Demand, values: Values) -> None:
    source = "nginx core and ngx_http_proxy_module"
    rate = ACCEPTS_PER_SECOND * max(1, need.edges)
    values.add("reconnect.spread", 0 if spec.agents <= rate else -(-spec.agents // rate), "s",
        f"First attempts after a mass cut are spread so that {rate} a second arrive, what the edges accept.",
        risk="without it a mass cut becomes a flood", source="arithmetic", spec_key="agents")  # fmt: skip
    worst = "all agents on the edges that remain when one is away" if need.edges > 1 else "all agents"
    connections = values.add("edge.worker_connections", _round(need.tunnels * 2 + SPARE, 1024), "connections",
        f"A tunnel takes two: {worst} x 2 and {SPARE} to spare; each worker may get them all.",
        risk="the default of 768 refuses the 385th agent", source=source, spec_key="agents")  # fmt: skip
    files = values.add("edge.nofile", _round(connections + SPARE, 1024), "descriptors",
        "One for each connection, and some for logs and listeners.", risk="the default of 1024 stops accepting silently", source=source, spec_key="agents")  # fmt: skip
    if files > 1_048_576:
        values.add("kernel.nr_open", files, "descriptors", "The kernel's ceiling must not be below nginx's.",
            risk="setrlimit fails", source="Linux fs.nr_open", spec_key="agents")  # fmt: skip
    values.add("edge.backlog", min(65_535, _power(max(4096, rate * 2))), "connections", "Two seconds of a reconnect storm wait in the listen queue.",
        risk="the default of 511 drops SYNs, and clients back off for seconds", source="nginx listen backlog; Linux net.core.somaxconn", spec_key="agents")  # fmt: skip
    values.add("edge.token_rate", 500, "requests/s", "What one token may ask for: a worker asks once or twice a mail. What comes faster waits, up to a second; then 429.",
        risk="too low slows workers down that drain a backlog; without it a client in a loop starves the others", source="nginx, ngx_http_limit_req_module", spec_key="agents")  # fmt: skip
    values.add("edge.upstream_keepalive", 32, "connections", "Idle connections to upstreams that each worker keeps.",
        risk="without any, each request pays a handshake and a port", source="nginx, upstream keepalive", spec_key="edge.routes")  # fmt: skip
    if need.per_upstream > DEFAULT_PORTS * 8 // 10:
        values.add("kernel.port_low", 1024, "port", f"{need.per_upstream} tunnels to one upstream address need more than {DEFAULT_PORTS} ports.",
            risk="connect() fails with EADDRNOTAVAIL", source="Linux ip_local_port_range", spec_key="agents")  # fmt: skip
    values.add("kernel.conntrack_max", max(262_144, _power(need.tunnels * 4)), "entries", "Two entries a tunnel, doubled: entries outlive their sockets.",
        risk="a full table drops new connections in silence", source="Linux nf_conntrack_max", spec_key="agents")  # fmt: skip
    values.add("edge.memory", (BASE_BYTES + need.tunnels * need.tunnel_bytes) >> 20, "MiB", f"{need.tunnel_bytes >> 10} KiB a tunnel beside {BASE_BYTES >> 20} MiB.",
        risk="an edge that swaps is an edge that stalls", source="measured (bench/sockets.py)", spec_key="agents")  # fmt: skip


def problems(spec: Spec, need: Demand, values: Values) -> Iterator[tuple[Path, str]]:
    """Sizes that cannot work, each with its place."""
    if need.per_upstream > WIDEST_PORTS:
        addresses = -(-need.per_upstream // WIDEST_PORTS)
        yield (
            ("agents",),
            (
                f"{need.per_upstream} tunnels from one edge to one upstream address, and {WIDEST_PORTS} ports exist: "
                f"give the route {addresses} times as many upstream addresses, add edges, or use a unix socket"
            ),
        )
    if need.tunnels * 2 + SPARE > 8_000_000:
        yield ("agents",), f"{need.tunnels} tunnels on one edge are beyond what one nginx holds (4000000): add edges"
    for name in spec.hosts_of(Tier.edge):
        memory = spec.hosts[name].memory
        if memory and memory >> 20 < values["edge.memory"]:
            fits = max(0, memory - BASE_BYTES) // need.tunnel_bytes
            yield (
                ("hosts", name, "memory"),
                (
                    f"{memory >> 20} MiB hold {fits} tunnels, and {need.tunnels} must fit ({values['edge.memory']} MiB): "
                    "give the host more memory, add edges, or lower agents"
                ),
            )


def _round(value: int, step: int) -> int:
    return -(-value // step) * step


def _power(value: int) -> int:
    return 1 << (value - 1).bit_length()
