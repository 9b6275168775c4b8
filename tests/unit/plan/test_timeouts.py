"""The chain of timeouts, as the mission fixes it and as a path bends it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specs import plan

from restante.errors import SpecError
from restante.plan.profiles import known


def values(changes: dict[str, Any] | None = None) -> dict[str, int]:
    return {key: derived.value for key, derived in plan(changes).values.items()}


def test_the_missions_fixed_figures_are_the_defaults() -> None:
    found = values()
    assert (found["heartbeat.interval"], found["heartbeat.pong_timeout"], found["heartbeat.misses"]) == (15, 5, 2)
    assert found["heartbeat.detection"] == 35
    assert (found["reconnect.first"], found["reconnect.cap"], found["reconnect.jitter"]) == (1, 60, 30)
    assert found["reconcile.interval"] == 300
    assert found["edge.socket_read_timeout"] == found["edge.socket_send_timeout"] == 3600


@pytest.mark.parametrize(
    ("path", "idle", "hold"),
    [([], 60, 25), (["strict-nat"], 15, 20), (["home-router"], 60, 25), (["aws-nlb", "strict-nat"], 15, 20)],
)
def test_the_path_decides_kernel_keepalive_and_long_poll(path: list[str], idle: int, hold: int) -> None:
    found = values({"path": path})
    assert (found["keepalive.idle"], found["edge.longpoll_hold"]) == (idle, hold)


def test_an_age_cap_is_answered_by_rotation_at_90_percent() -> None:
    assert values({"path": ["aws-api-gateway-websocket"]})["path.rotate_after"] == 6480
    assert "path.rotate_after" not in values({"path": ["aws-nlb"]})


def test_the_edge_outlives_a_proxy_in_front_of_it() -> None:
    assert values({"path": ["cloudflare-proxied"]})["edge.client_keepalive_timeout"] == 115


def test_an_override_is_followed_by_what_depends_on_it() -> None:
    reason = {"value": 90, "because": "our upstream keeps them longer"}
    found = plan({"overrides": {"values": {"edge.upstream_keepalive_timeout": reason}}}).values
    assert found["upstream.keepalive_timeout"].value == 105
    assert "our upstream keeps them longer" in found["edge.upstream_keepalive_timeout"].because


@pytest.mark.parametrize("profile", sorted(known()))
def test_every_shipped_profile_holds_or_is_refused_with_both_numbers(profile: str) -> None:
    try:
        assert all(rule.holds for rule in plan({"path": [profile]}).rules)
    except SpecError as error:
        assert profile == "gcp-external-alb"
        assert "35 s" in str(error)
        assert "30 s" in str(error)


@given(
    interval=st.integers(1, 120), pong=st.integers(1, 60), misses=st.integers(1, 5), idle=st.integers(1, 4000),
    rearmed=st.sampled_from(["segment", "byte", "from_origin"]),
)  # fmt: skip
def test_no_accepted_heartbeat_lets_the_path_forget(
    interval: int, pong: int, misses: int, idle: int, rearmed: str
) -> None:
    changes = {
        "heartbeat": {"interval": f"{interval}s", "pong_timeout": f"{pong}s", "misses": misses},
        "path": [{"id": "box", "idle": f"{idle}s", "rearmed_by": rearmed}],
    }
    try:
        found = values(changes)
    except SpecError:
        return
    assert interval + pong < idle
    assert misses * interval + pong <= 40
    assert found["edge.longpoll_hold"] + 5 < idle
