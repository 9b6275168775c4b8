"""Who may reach whom."""

from __future__ import annotations

from typing import Any

from specs import plan

from restante.plan.topology import Opening

TWO_TIERS: dict[str, Any] = {
    "hosts": {
        "edge": {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "os": "debian-12", "tiers": ["edge"]},
        "app": {"ipv4": "198.51.100.1", "os": "debian-13", "tiers": ["app"], "ssh": {"port": 2222}},
    },
    "edge": {"routes": [{"path": "/", "kind": "http", "upstreams": ["app:8080", "203.0.113.9:80"]}]},
}


def openings(host: str, changes: dict[str, Any]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for opening in plan(changes).hosts[host].openings:
        assert isinstance(opening, Opening)
        found.setdefault(opening.port, set()).add(opening.source)
    return found


def test_an_app_port_is_open_to_the_edges_only() -> None:
    assert openings("app", TWO_TIERS) == {2222: {""}, 8080: {"192.0.2.1", "2001:db8::1"}}


def test_an_edge_is_open_to_everybody_on_its_own_ports() -> None:
    assert openings("edge", TWO_TIERS) == {22: {""}, 80: {""}, 443: {""}}


def test_ssh_stays_open_where_its_networks_are_named() -> None:
    found = openings("app", {**TWO_TIERS, "firewall": {"enabled": True, "ssh_from": ["203.0.113.0/24"]}})
    assert found[2222] == {"203.0.113.0/24"}


def test_several_upstreams_and_a_foreign_address() -> None:
    route = plan(TWO_TIERS).routes[0]
    assert [(upstream.address, upstream.host) for upstream in route.upstreams] == [
        ("198.51.100.1:8080", "app"),
        ("203.0.113.9:80", None),
    ]


def test_an_ipv6_only_host_is_dialled_in_brackets() -> None:
    hosts = {"front": {"ipv6": "2001:db8::21", "os": "debian-13", "tiers": ["edge", "app"]}}
    assert plan({"hosts": hosts}).routes[0].upstreams[0].address == "[2001:db8::21]:8080"
