"""The deploy on two real hosts, Debian 12 and 13, with a bundle written by hand. The tests follow each other."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hand_bundle import CONF, UNIT, HandHost, write

from restante.deploy.playbook import Outcome, deploy
from restante.errors import FoundError, InputError
from restante.lab.lab import Lab
from restante.lab.machine import Machine

pytestmark = pytest.mark.lab

EDGES = (
    HandHost("edge-1", "192.0.2.11", "bookworm"),
    HandHost("edge-2", "198.51.100.12", "trixie"),
)
OPEN = "tcp dport { 22, 8080 } accept; ct state established,related accept; iif lo accept; "


def firewall(rules: str) -> str:
    chain = f"chain input {{ type filter hook input priority 0; policy drop; {rules}\n}}"
    return f"table inet restante\ndelete table inet restante\ntable inet restante {{\n{chain}\n}}\n"


@dataclass
class Stage:
    """The lab, a bundle to deploy on it, and a look at the hosts."""

    lab: Lab
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def write(self, *, both: bool = True, **changes: Any) -> Path:
        """`both`: the change is for edge-1 and edge-2, else for edge-1 alone."""
        first, second = EDGES
        hosts = dataclasses.replace(first, **changes), dataclasses.replace(second, **(changes if both else {}))
        return write(self.bundle, *hosts)

    def deploy(self, **options: Any) -> Outcome:
        with (self.folder / "output").open("w") as output:
            ways = {"prefix": self.lab.prefix(), "ssh_config": self.lab.ssh_config, "secrets": self.folder} | options
            return deploy(self.bundle, output=output, **ways)

    @property
    def said(self) -> str:
        return (self.folder / "output").read_text()

    def on(self, host: str, command: str) -> str:
        done = self.lab.host(host).exec(["sh", "-c", command])
        return (done.stdout + done.stderr).strip()

    def serves(self, host: str) -> str:
        return self.on(host, "curl -sS --max-time 2 http://127.0.0.1:8080/")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    lab = Lab(tmp_path_factory.mktemp("lab") / "deploy")
    try:
        lab.up(
            [Machine(edge.name, edge.suite, (edge.address,)) for edge in EDGES],
            {"bookworm": ["nginx"], "trixie": ["nginx"]},
            bound=True,
        )
        yield Stage(lab, tmp_path_factory.mktemp("stage"))
    finally:
        lab.down()


def states(outcome: Outcome) -> dict[str, str]:
    return {host.name: host.state for host in outcome.hosts}


def message(outcome: Outcome, host: str = "edge-1") -> str:
    return next(found.message for found in outcome.hosts if found.name == host)


def both(state: str) -> dict[str, str]:
    return {"edge-1": state, "edge-2": state}


def test_a_dry_run_on_fresh_hosts_says_what_could_not_be_tested(stage: Stage) -> None:
    stage.write()
    outcome = stage.deploy(check=True)
    assert states(outcome) == both("would change")
    assert {"install nginx", "create user relay"} <= set(outcome.hosts[0].todo)
    undecided = {test["component"]: test["said"] for test in outcome.hosts[0].tests if test["outcome"] == "undecided"}
    assert "not installed yet: nginx" in undecided["nginx"]
    assert '+  server { listen 8080; return 200 "one\\n"; }' in stage.said
    assert "cannot access" in stage.on("edge-1", "ls /var/lib/restante")


def test_the_first_deploy_and_the_second(stage: Stage) -> None:
    first = stage.deploy()
    assert states(first) == both("changed")
    assert [stage.serves(edge.name) for edge in EDGES] == ["one", "one"]
    assert stage.on("edge-1", "systemctl is-active relay nginx") == "active\nactive"
    assert stage.on("edge-2", "ps -o user= -p $(systemctl show -P MainPID relay)") == "relay"
    second, alone = stage.deploy(), stage.deploy(limit="edge-1")
    assert (states(second), second.changed) == (both("unchanged"), 0)
    sys.stdout.write(
        f"two hosts: first {first.seconds:.1f} s, again {second.seconds:.1f} s; one: {alone.seconds:.1f} s\n"
    )
    assert alone.seconds < 4


def test_the_bundle_alone_is_enough_for_ansible_playbook(stage: Stage) -> None:
    program = Path(sys.executable).with_name("ansible-playbook")
    argv = [str(program), "-i", f"{stage.bundle}/inventory.yml", f"{stage.bundle}/site.yml"]
    argv += ["--extra-vars", f"ansible_ssh_common_args='-F {stage.lab.ssh_config}'"]
    done = subprocess.run([*stage.lab.prefix(), *argv], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.count("changed=0") == 2, done.stdout + done.stderr
    assert "WARNING" not in done.stderr


def test_a_broken_configuration_is_refused_while_the_hosts_serve(stage: Stage) -> None:
    stage.write(says="two", extra="bogus on;")
    outcome = stage.deploy()
    assert states(outcome) == {"edge-1": "refused", "edge-2": "untouched"}
    assert 'unknown directive "bogus"' in message(outcome)
    assert "Not touched" in stage.said
    assert "bogus" not in stage.on("edge-1", f"cat {CONF}")
    assert [stage.serves(edge.name) for edge in EDGES] == ["one", "one"]
    with pytest.raises(FoundError, match=r"edge-1: refused[\s\S]*Not touched: edge-2"):
        outcome.demand()


def test_a_drifted_file_and_a_process_that_is_old_are_healed(stage: Stage) -> None:
    stage.write()
    stage.on("edge-1", f"cp -p {CONF} /root/kept; sed -i s/one/zero/ {CONF}; systemctl reload nginx")
    stage.on("edge-1", f"until [ $(curl -s http://127.0.0.1:8080/) = zero ]; do :; done; cp -p /root/kept {CONF}")
    stage.on("edge-2", f"echo '# by hand' >> {UNIT}")
    outcome = stage.deploy()
    assert states(outcome) == both("changed")
    assert outcome.hosts[0].todo == ["nginx: its files are right, its process is old"]
    assert stage.serves("edge-1") == "one"
    assert "by hand" not in stage.on("edge-2", f"cat {UNIT}")


def test_a_service_that_does_not_come_up_puts_the_release_before_back(stage: Stage) -> None:
    stage.write(says="three", exec_start="/bin/sh -c 'echo no database; exit 3'")
    outcome = stage.deploy()
    assert states(outcome) == {"edge-1": "failed", "edge-2": "untouched"}
    assert outcome.hosts[0].component == "relay"
    assert "no database" in message(outcome)
    assert "is back and serves again" in message(outcome)
    assert stage.serves("edge-1") == "one"
    assert stage.on("edge-1", "systemctl is-active relay") == "active"
    stage.write()
    assert states(stage.deploy()) == both("unchanged")


def test_a_component_that_left_is_stopped_and_a_rollback_brings_it_back(stage: Stage) -> None:
    stage.write(relay=False, says="four")
    assert states(stage.deploy()) == both("changed")
    assert "No such file" in stage.on("edge-1", f"systemctl is-active relay; ls {UNIT}")
    assert stage.on("edge-1", "ps -C python3 -o args= | grep -c http.server") == "0"
    rehearsed = stage.deploy(rollback=True, check=True)
    assert states(rehearsed) == both("would change")
    assert states(stage.deploy(rollback=True)) == both("changed")
    assert (stage.serves("edge-2"), stage.on("edge-2", "systemctl is-active relay")) == ("one", "active")
    assert states(stage.deploy(rollback=True)) == both("changed")
    assert stage.serves("edge-2") == "four"


def test_secrets_travel_and_are_never_shown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    key, token = "/etc/restante/tls/privkey.pem", "/etc/restante/token"
    stage.write(secrets={key: "file:privkey.pem", token: "env:LAB_TOKEN"})
    monkeypatch.setenv("LAB_TOKEN", "whisper-1")
    missing = stage.deploy()
    assert states(missing) == both("failed")
    assert f"{key} on edge-1 needs the secret file:privkey.pem" in message(missing)
    (stage.folder / "privkey.pem").write_text("murmur-1")
    assert states(stage.deploy()) == both("changed")
    assert stage.on("edge-1", f"stat -c %a {key}; cat {key} {token}") == "600\nmurmur-1whisper-1"
    assert states(stage.deploy()) == both("unchanged")
    (stage.folder / "privkey.pem").write_text("murmur-2")
    rehearsed = stage.deploy(check=True)
    assert rehearsed.hosts[0].todo == [f"nginx: {key}"]
    assert f"{key}: secret changed" in stage.said
    assert "murmur" not in stage.said
    assert states(stage.deploy()) == both("changed")
    assert "murmur" not in stage.on("edge-1", "journalctl --no-pager")


def test_a_firewall_that_locks_out_is_taken_back_over_the_old_connection(stage: Stage) -> None:
    stage.write(both=False, firewall=firewall("ct state established,related accept; iif lo accept;"))
    outcome = stage.deploy(limit="edge-1")
    assert states(outcome) == {"edge-1": "failed"}
    assert "no new ssh connection came through" in message(outcome)
    assert "is back and serves again" in message(outcome)
    assert "restante" not in stage.on("edge-1", "nft list tables")


def test_a_firewall_that_cuts_everything_goes_away_by_itself(stage: Stage) -> None:
    stage.write(both=False, firewall=firewall("iif lo accept;"))
    deadman = stage.bundle / "roles/restante/module_utils/restante_host/deadman.py"
    deadman.write_text(deadman.read_text().replace("UNTIL_CONFIRMED_S = 60", "UNTIL_CONFIRMED_S = 6"))
    outcome = stage.deploy(limit="edge-1")
    assert "The host has put the release before back by itself" in message(outcome)
    assert "restante" not in stage.on("edge-1", "nft list tables")
    assert "No new connection confirmed the firewall" in stage.on("edge-1", "journalctl --no-pager -u restante-deadman")


def test_a_firewall_that_lets_us_in_is_confirmed(stage: Stage) -> None:
    stage.write(firewall=firewall(OPEN))
    assert states(stage.deploy()) == both("changed")
    assert "inet restante" in stage.on("edge-1", "nft list tables")
    assert "restante-deadman" not in stage.on("edge-1", "systemctl list-timers --all --no-pager")
    assert states(stage.deploy()) == both("unchanged")


def test_a_host_that_is_down_fails_alone(stage: Stage) -> None:
    stage.write(says="five")
    stage.lab.host("edge-1").power_off()
    outcome = stage.deploy()
    assert states(outcome) == {"edge-1": "unreachable", "edge-2": "changed"}
    assert stage.serves("edge-2") == "five"
    stage.lab.host("edge-1").power_on()
    assert states(stage.deploy()) == {"edge-1": "changed", "edge-2": "unchanged"}


def test_another_distribution_is_refused(stage: Stage) -> None:
    write(stage.bundle, dataclasses.replace(EDGES[0], suite="trixie"))
    assert "runs debian-12, and the release was rendered for debian-13" in message(stage.deploy())


def test_a_host_key_that_changed_is_a_sentence(stage: Stage, tmp_path: Path) -> None:
    stage.write()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    (tmp_path / "known").write_text(f"* {(tmp_path / 'other.pub').read_text()}")
    lines = [
        line for line in stage.lab.ssh_config.read_text().splitlines() if not re.search("KnownHosts|Control", line)
    ]
    own = [f"UserKnownHostsFile {tmp_path}/known", "GlobalKnownHostsFile /dev/null"]
    (tmp_path / "ssh_config").write_text("\n".join([*own, *lines, ""]))
    outcome = stage.deploy(ssh_config=tmp_path / "ssh_config")
    assert states(outcome) == both("unreachable")
    assert "its host key is not the one that is known" in message(outcome)


def test_no_sudo_is_a_sentence(stage: Stage) -> None:
    stage.on("edge-1", "useradd -m plain; cp -r /root/.ssh /home/plain/; chown -R plain /home/plain/.ssh")
    write(stage.bundle, EDGES[0])
    inventory = stage.bundle / "inventory.yml"
    inventory.write_text(
        inventory.read_text().replace("ansible_user: root", "ansible_user: plain\n      ansible_become: true")
    )
    assert "sudo" in message(stage.deploy())
    inventory.write_text(inventory.read_text().replace("ansible_become: true", "ansible_become: false"))
    assert "needs root on the host" in message(stage.deploy())


def test_a_limit_names_hosts_of_the_bundle(stage: Stage) -> None:
    with pytest.raises(InputError, match="--limit names edge-9, but the bundle has only edge-1, edge-2"):
        stage.write() and stage.deploy(limit="edge-9")
