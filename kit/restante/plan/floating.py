"""The address that moves between the edges: what must hold for it, how fast it moves, and who elects whom (VRRP)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from restante.plan.derived import Values
from restante.spec.document import Path
from restante.spec.hosts import Host, Tier
from restante.spec.model import Spec

_RFC = "RFC 9568 (VRRPv3)"
LONGEST_ADVERT_S = 40  # twelve bits of hundredths of a second
HIGHEST_ID = 255
HIGHEST_PRIORITY = 254  # 255 is for who owns the address for good; nobody does


@dataclass(frozen=True)
class Candidate:
    """One edge among those that may hold the address. `own` and `peers`: what they send their adverts from and to."""

    own: str
    peers: tuple[str, ...]
    priority: int


def addresses(spec: Spec) -> tuple[str, ...]:
    """Without their prefix, which only says whose neighbour they are."""
    return tuple(str(ipaddress.ip_interface(text).ip) for text in (spec.edge.floating if spec.edge else ()))


def candidate(spec: Spec, name: str) -> Candidate | None:
    """None where the host has no part in it.

    Priorities go down in the spec's order, as far apart as they can be: edges that boot in the same moment must not all
    take the address. An edge that comes back leaves it where it is all the same (nopreempt).
    """
    edges = spec.hosts_of(Tier.edge)
    if not addresses(spec) or name not in edges:
        return None
    version = ipaddress.ip_address(addresses(spec)[0]).version
    own = {edge: str(getattr(spec.hosts[edge], f"ipv{version}")) for edge in edges}
    step = HIGHEST_PRIORITY // len(edges)
    peers = tuple(address for edge, address in own.items() if edge != name)
    return Candidate(own[name], peers, HIGHEST_PRIORITY - step * edges.index(name))


def derive(spec: Spec, values: Values) -> None:
    """How fast it moves. Nothing without it."""
    if not addresses(spec):
        return
    key = "edge.floating"
    advert = values.add("floating.advert_interval", 1, "s", "The edge that holds the address says so this often.",
        risk="longer leaves the address with a dead edge for longer", source=f"{_RFC}, Advertisement_Interval", spec_key=key)  # fmt: skip
    values.add("floating.takeover", 4 * advert, "s",
        "Three adverts missed, and a skew below a fourth: then another edge has the address of one that died in silence.",
        risk="this long nobody answers after a power cut", source=f"{_RFC}, Active_Down_Interval", spec_key=key)  # fmt: skip
    check = values.add("floating.check_interval", 1, "s", "Each edge asks its own nginx this often, and waits as long for the answer.",
        risk="longer leaves the address with an edge that serves nobody",
        source="keepalived.conf(5), vrrp_script", spec_key=key)  # fmt: skip
    misses = values.add("floating.check_misses", values["edge.stop_grace"] // check + 2, "answers",
        "So many missing answers in a row and an edge gives the address away: more than edge.stop_grace and a second, a restart, costs.",
        risk="fewer, and a mere restart moves the address", source="arithmetic", spec_key=key)  # fmt: skip
    values.add("floating.giveaway", check * (misses + 1) + advert, "s",
        "A check that has just passed, those that are missed, and the next edge's skew: then it has the address of one without nginx.",
        risk="this long nobody answers when nginx alone is down", source="arithmetic", spec_key=key)  # fmt: skip
    values.add("floating.router_id", _router_id(addresses(spec)[0]), "id",
        "The address modulo 255, and one: no two addresses of a /24 have the same.",
        risk="another group of routers with the same id is taken for this one by whoever reads along",
        source=f"{_RFC}, VRID", spec_key=key)  # fmt: skip


def _router_id(address: str) -> int:
    return int(ipaddress.ip_address(address)) % HIGHEST_ID + 1


def limits(values: Values) -> Iterator[tuple[Path, str]]:
    """Overrides that the protocol has no room for."""
    for name, most in (("advert_interval", LONGEST_ADVERT_S), ("router_id", HIGHEST_ID)):
        key = f"floating.{name}"
        if key in values.table and values[key] > most:
            yield (
                ("overrides", "values", key),
                f"{key} is {values[key]} and must not be above {most}: {_RFC} has no room for more",
            )


def problems(spec: Spec) -> Iterator[tuple[Path, str]]:
    """What does not fit together, each with its place."""
    edges = {name: spec.hosts[name] for name in spec.hosts_of(Tier.edge)}
    floating = spec.edge.floating if spec.edge else ()
    if floating and len(edges) == 1:
        yield (
            ("edge", "floating"),
            f"only {next(iter(edges))} is an edge, and an address moves between two or more; add an edge, or leave it out",
        )
    families: set[int] = set()
    for index, text in enumerate(floating):
        place: Path = ("edge", "floating", index) if len(floating) > 1 else ("edge", "floating")
        address = ipaddress.ip_interface(text)
        if address.version in families:
            yield (
                place,
                f"{text} is a second address of its family; one of each is enough: the edges serve every name on it",
            )
        families.add(address.version)
        for name, host in spec.hosts.items():
            if str(address.ip) in host.addresses:
                yield place, f"{address.ip} is {name}'s own address, which never moves; give one that no host has"
        yield from ((place, sentence) for sentence in _strangers(address, edges))


def unreached(spec: Spec) -> list[str]:
    """Families that every edge has, and the floating addresses have not."""
    found = {ipaddress.ip_address(address).version for address in addresses(spec)}
    edges = [spec.hosts[name] for name in spec.hosts_of(Tier.edge)]
    return [f"ipv{version}" for version in {4, 6} - found if found and all(getattr(e, f"ipv{version}") for e in edges)]


def _strangers(floating: ipaddress.IPv4Interface | ipaddress.IPv6Interface, edges: dict[str, Host]) -> Iterator[str]:
    """An edge takes the address on the link on which it is a neighbour of it."""
    family = f"ipv{floating.version}"
    for name, host in edges.items():
        own = getattr(host, family)
        if not own:
            yield f"{name} has no {family} address, and every edge must be able to take {floating.ip}; give it one in {floating.network}"
        elif ipaddress.ip_address(own) not in floating.network:
            yield f"{name}'s address {own} is outside {floating.network}: {floating.ip} could not come to it; correct either"
