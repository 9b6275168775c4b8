"""The address between the edges: who may hold it, how fast it moves, and what is published."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from specs import VALID, plan

from restante.cli.dns import records
from restante.plan.build import Plan
from restante.render.host import render_host


def floating(addresses: Any, edges: int = 2, **edge: Any) -> Plan:
    hosts = {
        f"edge-{number}": {
            "ipv4": f"192.0.2.{10 + number}", "ipv6": f"2001:db8::{10 + number}", "os": "debian-13", "tiers": ["edge", "app"],
        }
        for number in range(1, edges + 1)
    }  # fmt: skip
    routes = [{"path": "/ws", "kind": "websocket", "upstreams": ["edge-1:8080", "edge-2:8080"]}]
    return plan({"hosts": hosts, "edge": {"routes": routes, "floating": addresses, **edge}})


def config(made: Plan, name: str) -> str:
    files, _, _ = render_host(made, made.hosts[name])
    return files["/etc/keepalived/keepalived.conf"].content.decode()


def test_each_edge_tells_the_others_and_no_two_start_with_one_priority() -> None:
    candidates = [host.floating for host in floating("192.0.2.100/24", edges=3).hosts.values()]
    assert [asdict(found) for found in candidates if found] == [
        {"own": "192.0.2.11", "peers": ("192.0.2.12", "192.0.2.13"), "priority": 254},
        {"own": "192.0.2.12", "peers": ("192.0.2.11", "192.0.2.13"), "priority": 170},
        {"own": "192.0.2.13", "peers": ("192.0.2.11", "192.0.2.12"), "priority": 86},
    ]


def test_every_priority_is_one_that_the_protocol_knows() -> None:
    priorities = [
        host.floating.priority for host in floating("192.0.2.5/24", edges=200).hosts.values() if host.floating
    ]
    assert len(set(priorities)) == 200
    assert min(priorities) >= 1


def test_every_address_of_a_network_has_an_id_of_its_own() -> None:
    ids = {floating(f"192.0.2.{last}/24").values["floating.router_id"].value for last in range(20, 255)}
    assert len(ids) == 235
    assert all(1 <= each <= 255 for each in ids)


def test_adverts_go_over_the_first_ones_family_and_the_other_goes_along() -> None:
    both = config(floating(["2001:db8::100/64", "192.0.2.100/24"]), "edge-1")
    assert "unicast_src_ip 2001:db8::11\n" in both
    assert "virtual_ipaddress {\n        2001:db8::100/128\n" in both
    assert "virtual_ipaddress_excluded {\n        192.0.2.100/32\n" in both
    assert "excluded" not in config(floating("192.0.2.100/24"), "edge-1")


def test_the_bounds_follow_from_the_intervals() -> None:
    values = {
        key: value.value for key, value in floating("192.0.2.100/24").values.items() if key.startswith("floating.")
    }
    assert values["floating.takeover"] == 4 * values["floating.advert_interval"]
    assert values["floating.check_misses"] == 4, "a stop of nginx has 2 s"
    assert values["floating.giveaway"] == 6


def test_the_holder_is_sized_for_all_agents() -> None:
    with_it, without = floating("192.0.2.100/24", edges=3), floating([], edges=3)
    assert with_it.values["edge.memory"].value > without.values["edge.memory"].value
    assert not any(key.startswith("floating.") for key in without.values)
    assert all(host.floating is None for host in without.hosts.values())


def test_the_domain_is_published_with_it_alone() -> None:
    made = floating("192.0.2.100/24")
    published = [line for line in records(made) if line.startswith(VALID["domain"])]
    assert published == ["mail.example.org. IN A 192.0.2.100"]
    assert any("cannot reach the domain over ipv6" in note for note in made.notes)
    assert len([line for line in records(floating([])) if line.startswith(VALID["domain"])]) == 4
