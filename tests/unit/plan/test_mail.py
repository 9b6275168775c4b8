"""What follows for mail."""

from __future__ import annotations

from typing import Any

from specs import plan

from restante.plan import backup

POST = {"edge": None, "hosts": {"solo": {"ipv4": "192.0.2.31", "os": "debian-13", "tiers": ["edge", "post"]}},
        "inboxes": {"domains": ["example.org"]}}  # fmt: skip
HOSTS: dict[str, Any] = {
    "edge-1": {"ipv4": "192.0.2.11", "os": "debian-12", "tiers": ["edge"]},
    "post-1": {"ipv4": "198.51.100.11", "os": "debian-12", "tiers": ["post"]},
    "post-2": {"ipv4": "198.51.100.12", "ipv6": "2001:db8::12", "os": "debian-13", "tiers": ["post"]},
    "store-1": {"ipv4": "198.51.100.21", "os": "debian-13", "tiers": ["store"], "memory": "4G"},
}
FLEET = {**POST, "hosts": HOSTS, "store": {"engine": "postgresql", "lab": True}}


def test_without_post_hosts_nothing_of_mail_is_derived() -> None:
    assert not [key for key in plan().values if key.startswith(("queue.", "mail.", "inbox.", "smtp.", "server."))]


def test_the_queue_outlives_the_outage_and_the_memory_of_hops_the_queue() -> None:
    found = plan({**POST, "outage": "10d"}).values
    days = {key: found[key].value / 86_400 for key in ("queue.hold_after", "queue.lifetime", "mail.hop_retention")}
    assert days == {"queue.hold_after": 10, "queue.lifetime": 40, "mail.hop_retention": 41}


def test_one_host_keeps_its_http_to_itself() -> None:
    made = plan(POST)
    assert [(route.path, route.kind) for route in made.routes] == [
        ("/v1/ws", "websocket"), ("/v1/", "sse"), ("/openapi.json", "http"),
    ]  # fmt: skip
    assert {up.address for route in made.routes for up in route.upstreams} == {"127.0.0.1:8025"}
    assert [opening.port for opening in made.hosts["solo"].openings] == [22, 80, 443, 25]


def test_a_fleet_opens_to_its_own_alone() -> None:
    made = plan(FLEET)
    opened = {name: [(item.port, item.source) for item in host.openings] for name, host in made.hosts.items()}
    assert opened["post-1"] == [(22, ""), (25, ""), (8025, "192.0.2.11")]
    assert opened["store-1"] == [(22, ""), (5432, "198.51.100.11"), (5432, "198.51.100.12"), (5432, "2001:db8::12")]
    assert made.values["store.shared_buffers"].value == 1024
    assert made.values["store.max_connections"].value == 72


def test_an_own_route_below_v1_takes_the_place_of_ours() -> None:
    own = {"routes": [{"path": "/v1/other", "kind": "http", "upstreams": ["solo:8025"]}]}
    assert [route.path for route in plan({**POST, "edge": own}).routes] == ["/v1/other"]


def test_own_routes_beside_v1_leave_ours_in_place() -> None:
    own = {"routes": [{"path": "/", "kind": "http", "upstreams": ["solo:8080"]}], "drain": "10s"}
    service = {"own": {"host": "solo", "user": "own", "exec": "/usr/bin/own", "listens": [8080]}}
    made = plan({**POST, "edge": own, "services": service})
    assert [route.path for route in made.routes] == ["/", "/v1/ws", "/v1/", "/openapi.json"]
    assert made.values["server.drain"].value == 10


def test_the_operator_is_told_of_what_refuses_nothing() -> None:
    notes = " ".join(plan(FLEET).notes)
    assert "postmaster@example.org" in notes
    assert "the firewall is off" in notes
    assert "postmaster" not in " ".join(
        plan({**POST, "inboxes": {"domains": ["example.org"], "predefined": ["postmaster"]}}).notes
    )


def test_backups_are_made_where_the_store_is() -> None:
    assert backup.host(plan(POST).spec) == "solo"
    assert backup.host(plan(FLEET).spec) == "store-1"
    assert backup.host(plan({**POST, "store": {"backup": {"enabled": False}}}).spec) is None
    assert backup.host(plan().spec) is None
    assert plan({**POST, "store": {"backup": {"every": "6h"}}}).values["backup.stale_after"].value == 12 * 3600
