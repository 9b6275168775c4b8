"""Programs that handle an inbox with the SDK, as they tell systemd about themselves."""

from __future__ import annotations

import re
from typing import Any

import pytest
from bundle import Bundle, Expected, expect

check = pytest.mark.check
# restante.client.mailbox writes it: a channel, its last answered heartbeat, the last request for mail, the position.
STATUS = re.compile(
    r"(?P<channel>\w+) (?P<state>up|down); heartbeat (?P<beat>\d+|-) s ago; asked (?P<asked>\d+) s ago; at (?P<cursor>\S+); \d+ handled"
)
ASKED_LIMIT_S = 450  # reconciliation is every 5 minutes, with 30 % of jitter; and a request's own time


@check(id="agent-connected", cause=2, key="services.agent", component="service")
def test_agents(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    """Connected, heartbeats flowing, cursor moving. service-watchdog says whether the watchdog is armed."""
    for name, service in bundle.plan["hosts"][host_name]["services"].items():
        if service["agent"]:
            _judge(bundle, name, facts["units"][f"{name}.service"]["StatusText"])


def _judge(bundle: Bundle, name: str, text: str) -> None:
    found = STATUS.fullmatch(text)
    if not found:
        raise Expected(f"the status of an SDK from {name}.service", text or "nothing; does it use restante.Mailbox?")
    expect(f"the push channel of {name}.service is", "up", found["state"])
    limit = bundle.value("heartbeat.detection")
    if found["beat"] == "-" or int(found["beat"]) > limit:
        raise Expected(f"a heartbeat of {name}.service answered within {limit} s", text)
    if found["cursor"] == "-" or int(found["asked"]) > ASKED_LIMIT_S:
        raise Expected(f"{name}.service asking for mail and knowing its position", text)
