"""Sizes follow from the number of agents, with one edge away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specs import VALID, plan

from restante.errors import SpecError

SOCKET = {"edge": {"routes": [{"path": "/ws", "kind": "websocket", "upstreams": ["unix:/run/relay/ws.sock"]}]}}


def value(key: str, changes: dict[str, Any]) -> int:
    return plan(changes).values[key].value


def edges(count: int) -> dict[str, Any]:
    host = VALID["hosts"]["front"]
    return {"hosts": {"front": host, **{f"edge-{n}": {**host, "ipv4": f"192.0.2.{100 + n}"} for n in range(1, count)}}}


def test_a_tunnel_takes_two_connections() -> None:
    assert value("edge.worker_connections", {"agents": 10_000}) >= 20_000


def test_the_remaining_edges_hold_all_agents() -> None:
    one, two, three = (value("edge.worker_connections", {"agents": 9000, **edges(count)}) for count in (1, 2, 3))
    assert one == two > three


def test_few_agents_come_back_at_once_and_many_are_spread() -> None:
    assert value("reconnect.spread", {"agents": 100}) == 0
    assert value("reconnect.spread", {"agents": 20_000, **SOCKET}) == 100


def test_ports_are_widened_only_where_one_upstream_needs_them() -> None:
    assert "kernel.port_low" not in plan({"agents": 20_000}).values
    assert value("kernel.port_low", {"agents": 30_000}) == 1024
    assert "kernel.port_low" not in plan({"agents": 30_000, **SOCKET}).values


@given(st.integers(1, 1_000_000))
def test_descriptors_always_cover_connections(agents: int) -> None:
    found = plan({"agents": agents, **SOCKET}).values
    assert found["edge.worker_connections"].value >= 2 * agents
    assert found["edge.nofile"].value > found["edge.worker_connections"].value
    assert found["edge.backlog"].value <= 65_535


def test_what_does_not_fit_names_both_numbers() -> None:
    with pytest.raises(SpecError, match=r"64512 ports exist.*unix socket"):
        plan({"agents": 70_000})
