"""Specs for tests: one that is valid, and how to change it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from restante.plan.build import Plan, build
from restante.plan.facts import Facts
from restante.spec.load import Loaded, parse

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALID: dict[str, Any] = {
    "restante": 1,
    "domain": "mail.example.org",
    "hosts": {"front": {"ipv4": "192.0.2.21", "os": "debian-13", "tiers": ["edge", "app"]}},
    "agents": 500,
    "edge": {"routes": [{"path": "/ws", "kind": "websocket", "upstreams": ["front:8080"]}]},
    "tls": {"lab": True},
}


def loaded(changes: Mapping[str, Any] | None = None) -> Loaded:
    return parse(json.dumps({**VALID, **(changes or {})}), "spec.yml", Path())


def plan(changes: Mapping[str, Any] | None = None, facts: Facts | None = None) -> Plan:
    return build(loaded(changes), facts or Facts(NOW))


def many_hosts(count: int) -> dict[str, Any]:
    """A fleet of one edge in ten, the rest app hosts with a service each, in front of a few agents a host."""
    edges = max(1, count // 10)
    hosts = {
        f"host-{index}": {
            "ipv6": f"2001:db8::{index + 1:x}",
            "os": "debian-13" if index % 2 else "debian-12",
            "tiers": ["edge"] if index < edges else ["app"],
        }
        for index in range(count)
    }
    apps = [name for name in hosts if hosts[name]["tiers"] == ["app"]]
    service = {"host": apps, "user": "relay", "exec": "/usr/bin/relay", "listens": [8080]}
    routes = [{"path": "/ws", "kind": "websocket", "upstreams": [f"{name}:8080" for name in apps[:8]]}]
    return {**VALID, "hosts": hosts, "agents": count * 20, "services": {"relay": service}, "edge": {"routes": routes}}
