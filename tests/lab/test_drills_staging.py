"""Drills on hosts that are reached over ssh alone, as staging hosts are: nothing lost, nothing left, and a host that heals without us."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_drills import until_said

from restante.drills.scenarios.staging import TABLE
from restante.drills.staging.leash import FOLDER
from restante.lab.lab import Lab
from restante.lab.machine import lab_directory
from restante.lab.system import await_true

pytestmark = [pytest.mark.lab, pytest.mark.alone]
# Whoever logs in is no root there, and the host has rules of its own beside the drill's.
SPEC = """
restante: 1
domain: mail.example.org
agents: 50
hosts:
  solo: {ipv4: 192.0.2.31, os: debian-13, tiers: [edge, post], ssh: {user: ops, become: true}}
inboxes: {domains: [example.org], predefined: [support]}
firewall: {enabled: true}
tls: {lab: true}
drills: allowed
"""
PLAYED = ("deaths", "planned-cuts", "all-cut")
HEALS_S = 5
LEFT = f"""
nft list tables; systemctl list-units --all --plain --no-legend 'restante-drill*'; ls -d {FOLDER} 2>/dev/null; postqueue -j
systemctl list-timers --all --no-legend | grep drill
"""


class Staging:
    """One host as deployed, and the command that breaks it."""

    def __init__(self, folder: Path) -> None:
        self.spec, self.out = folder / "staging.yml", folder / "out"
        self.spec.write_text(SPEC)
        self.lab = Lab(lab_directory(self.spec))

    def restante(self, *argv: str) -> str:
        done = subprocess.run([sys.executable, "-m", "restante", *argv], capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        print(done.stderr)
        return done.stdout

    def drill(self, *names: str) -> list[str]:
        where = ("--quick", "--staging", str(self.spec), "--lab", "--out", str(self.out))
        return ["drill", "run", *names, *where]

    def begin(self, name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "restante", *self.drill(name)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def sh(self, script: str) -> str:
        return self.lab.host("solo").exec(["sh", "-c", script]).stdout

    def asked(self, *argv: str) -> list[dict[str, Any]]:
        return list(json.loads(self.sh(f"restante {' '.join(argv)} --json")))

    def cut_off(self) -> bool:
        return TABLE in self.sh("nft list tables")

    def left(self) -> str:
        """What a drill could have left on the host, but for what the post office holds."""
        return self.sh(LEFT).replace("table inet restante\n", "").strip()

    def lodgers(self) -> list[str]:
        """What it could have left in the post office."""
        inboxes = [each["inbox_id"] for each in self.asked("inbox", "list")]
        return [*inboxes, *(each["name"] for each in self.asked("token", "list") if not each["revoked_at"])]


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staging]:
    made = Staging(tmp_path_factory.mktemp("staging"))
    try:
        made.restante("lab", "up", str(made.spec))
        made.restante("deploy", str(made.spec), "--lab")
        yield made
    finally:
        made.restante("lab", "down", str(made.spec))


def helpers(staging: Staging) -> list[str]:
    """Senders, agents and connections of a drill that still run where the hosts are reached."""
    lines = subprocess.run(
        [*staging.lab.prefix(), "ps", "-eo", "args"], capture_output=True, text=True
    ).stdout.splitlines()
    return [line for line in lines if "restante.drills." in line or "restante-drill-" in line]


def test_scenarios_hold_and_nothing_is_left(staging: Staging) -> None:
    found = json.loads(staging.restante(*staging.drill(*PLAYED), "--json"))["scenarios"]
    assert {each["name"]: each["verdict"] for each in found} == dict.fromkeys(PLAYED, "held")
    for each in found:
        print(each["name"], each["kit"])
        assert (each["naive"], each["common"]) == (None, None)
        assert (each["kit"]["lost"], each["kit"]["duplicates_unexplained"]) == (0, 0)
        assert each["kit"]["delivered"] == each["kit"]["accepted"] == each["kit"]["sent"] > 0
    assert staging.left() == ""
    assert staging.lodgers() == ["support@example.org"]
    ledger = json.loads(staging.sh("restante ledger --json"))
    assert ledger["unexplained"] == 0
    staging.restante("status", str(staging.spec), "--lab")


def test_a_host_heals_when_its_controller_is_killed_and_the_next_run_tidies_up(staging: Staging) -> None:
    killed = staging.begin("silence")
    until_said(killed, "silence-1: plays")
    assert await_true(staging.cut_off, 30), "it never came to the fault"
    killed.kill()
    killed.communicate(timeout=30)
    assert await_true(lambda: staging.left() == "", HEALS_S), staging.left()
    assert len(staging.lodgers()) == 3, "an inbox and a token are what a killed run leaves"
    staging.restante("status", str(staging.spec), "--lab")

    stopped = staging.begin("silence")
    until_said(stopped, "what a run before left is removed")
    until_said(stopped, "silence-1: plays")
    assert await_true(staging.cut_off, 30), "it never came to the fault"
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 1
    assert "interrupted" in said
    assert "Traceback" not in said
    assert staging.left() == ""
    assert staging.lodgers() == ["support@example.org"]
    assert await_true(lambda: not helpers(staging), HEALS_S), helpers(staging)
