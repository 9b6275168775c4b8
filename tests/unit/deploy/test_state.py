"""What `restante status` says of a host, and what of it needs a person."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from restante.deploy.state import SCRIPT, HostState, ask

WELL = {"release": "r1", "unfinished": False, "old": [], "inactive": []}
POST = {"ready": True, "says": "", "draining": False, "sockets": 3, "queue": 0, "oldest_unacknowledged_s": 0}
EDGE = {"serves": True, "connections": 7, "draining_workers": 0}


def cluster(trouble: str = "", **roles: str) -> dict[str, Any]:
    lag = {"leader": None}
    members = [
        {"name": name, "role": role, "state": "running", "timeline": 4, "lag_bytes": lag.get(role, 2048)}
        for name, role in roles.items()
    ]
    return {"etcd": dict.fromkeys(roles, True), "paused": False, "members": members, "trouble": trouble}


@pytest.mark.parametrize(
    ("told", "says", "troubles"),
    [
        ({"post": POST}, "ready, 3 sockets, 0 mails in Postfix's queue", []),
        ({"nginx": EDGE}, "7 connections", []),
        ({"nginx": {**EDGE, "draining_workers": 2}}, "7 connections, 2 workers draining", []),
        ({"post": {**POST, "ready": False, "draining": True}}, "draining, 3 sockets", []),
        (
            {"post": {**POST, "ready": False, "says": "waiting for the store", "queue": 9}},
            "waiting, 3 sockets, 9 mails in Postfix's queue",
            ["the post office is not ready (waiting for the store)"],
        ),
        ({"cluster": cluster(h="leader", b="sync_standby")}, "leads, timeline 4", []),
        ({"cluster": cluster(h="sync_standby", b="leader")}, "has every commit, timeline 4, 2 KiB behind", []),
        (
            {"cluster": cluster("no member leads: mail waits in Postfix", h="replica", b="replica")},
            "follows",
            ["no member leads: mail waits in Postfix"],
        ),
        ({"cluster": {}}, "", ["the members of the store could not be asked from here"]),
        ({"cluster": {"etcd": {"h": False}, "members": []}}, "", ["etcd is not healthy here", "the cluster does not know this member"]),
        ({"unfinished": True}, "", ["a deploy did not end"]),
        ({"release": "r0"}, "", ["another release than the spec's (r1)"]),
        ({"old": ["post"], "inactive": ["nginx.service"]}, "", ["post still runs what was there before", "nginx.service is not active"]),
        ({"release": None}, "", ["nothing is deployed"]),
    ],
)  # fmt: skip
def test_a_host_in_one_line(told: dict[str, Any], says: str, troubles: list[str]) -> None:
    state = HostState("h", ["store"], "r1", {**WELL, **told})
    assert state.says().startswith(says)
    assert state.troubles() == troubles


def test_a_host_that_cannot_be_asked_says_why(tmp_path: Path) -> None:
    (tmp_path / "hosts/h").mkdir(parents=True)
    (tmp_path / "plan.json").write_text(json.dumps({"hosts": {"h": {"tiers": ["edge"]}}}))
    (tmp_path / "hosts/h/manifest.json").write_text('{"release": "r1"}')
    refusing = ["sh", "-c", "echo 'ssh: connect to host h: No route to host' >&2; exit 255"]
    [state] = ask(tmp_path, {"h": refusing})
    assert state.troubles() == ["could not be asked: ssh: connect to host h: No route to host"]


def test_the_script_answers_on_a_host_where_nothing_is_deployed() -> None:
    done = subprocess.run([sys.executable, "-"], input=SCRIPT.read_text(), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"release": None}
