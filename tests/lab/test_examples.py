"""The main job on real input: the examples on freshly booted Debian 12 and 13 hosts, deployed, verified and disturbed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restante import resources
from restante.lab.authority import certificate
from restante.lab.lab import Lab
from restante.lab.machine import lab_directory
from restante.lab.network import CONTROLLER

pytestmark = pytest.mark.lab
RECEIVER = """
import http.server, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.path, self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()
    def log_message(self, *words):
        pass
server = http.server.HTTPServer((sys.argv[1], 8099), Receiver)
print("ready")
server.serve_forever()
"""
SPECS = Path(__file__).parent / "specs"  # fronting a program of one's own, without mail
HELD = Path(__file__).with_name("held_socket.py")
CHAIN = "/etc/restante/tls/fullchain.pem"
FOREIGN = "/etc/ssl/certs/ISRG_Root_X1.pem"  # somebody's certificate, which each host has


class Fleet:
    """An example in a folder of its own, so that a test may change it, and the command that works on it."""

    def __init__(self, folder: Path, example: str) -> None:
        self.spec = folder / "restante.yml"
        own = SPECS / f"{example}.yml"
        shutil.copy(own if own.exists() else resources.examples() / f"{example}.yml", self.spec)
        shutil.copytree(resources.examples() / "backend", folder / "backend")
        self.original = self.spec.read_text()
        self.lab = Lab(lab_directory(self.spec))

    def restante(self, *argv: str, status: int = 0) -> str:
        verb, *rest = argv
        where = ["lab", verb] if verb in {"up", "down"} else [verb]
        command = [sys.executable, "-m", "restante", *where, str(self.spec), *rest]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400)
        assert done.returncode == status, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def deploy(self, *argv: str, status: int = 0) -> str:
        return self.restante("deploy", "--lab", *argv, status=status)

    def failed(self, *argv: str) -> set[tuple[str, str]]:
        """Checks that fail now, as (id, host)."""
        command = [sys.executable, "-m", "restante", "verify", str(self.spec), "--lab", "--quick", "--json", *argv]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        return {(row["id"], row["host"]) for row in json.loads(done.stdout) if row["outcome"] == "failed"}

    def on(self, host: str, script: str) -> str:
        done = self.lab.host(host).exec(["sh", "-c", script])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def until(condition: Callable[[], object], what: str, limit_s: float = 30) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {limit_s} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def two_tier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("two-apps"), "two-apps")
    try:
        fleet.restante("up")
        yield fleet
    finally:
        fleet.restante("down")


@pytest.mark.parametrize(
    ("example", "release"), [("websocket-only", ""), ("one-backend", ""), ("single-host", "debian-13")]
)
def test_an_example_is_deployed_and_verified(example: str, release: str, tmp_path: Path) -> None:
    """test_faults.py has the other two, single-host on the release that it names."""
    fleet = Fleet(tmp_path, example)
    if release:
        assert fleet.original.count("os: debian-12") == 1
        fleet.spec.write_text(fleet.original.replace("os: debian-12", f"os: {release}"))
    try:
        fleet.restante("up")
        assert "would change" in fleet.deploy("--check")
        fleet.deploy()
        assert re.search(r"hosts?: \d+ unchanged\n", fleet.deploy())
        assert ", 0 failed" in fleet.restante("verify", "--lab", "--quick")
    finally:
        fleet.restante("down")
    assert not fleet.lab.directory.exists()


def test_secrets_arrive_and_a_webhook_and_a_dead_mans_switch_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(tmp_path, "one-backend")
    monkeypatch.setenv("HOOK", f"http://{CONTROLLER[0]}:8099/hook")
    monkeypatch.setenv("BEAT", f"http://{CONTROLLER[0]}:8099/beat")
    secret = "credentials: {token: env:TOKEN}, readiness: notify"
    with_secret = fleet.original.replace("readiness: notify", secret)
    fleet.spec.write_text(with_secret + "alert: {webhook: env:HOOK, beat: env:BEAT}\n")
    monkeypatch.setenv("TOKEN", "swordfish")
    try:
        fleet.restante("up")
        command = [*fleet.lab.prefix(), sys.executable, "-u", "-c", RECEIVER, CONTROLLER[0]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
            assert receiver.stdout
            assert receiver.stdout.readline() == "ready\n"
            fleet.deploy()
            assert fleet.on("solo", "cat /run/credentials/backend.service/token") == "swordfish"
            fleet.on("solo", "systemctl start restante-beat.service")
            fleet.on("solo", "/usr/local/lib/restante/alert message drill 'a person is needed'")
            heard = ""
            while not ("/beat" in heard and "a person is needed" in heard):
                line = receiver.stdout.readline()
                assert line, f"the receiver ended after {heard}"
                heard += line
            receiver.kill()
    finally:
        fleet.restante("down")


def test_two_tiers_are_deployed_and_a_second_run_changes_nothing(two_tier: Fleet) -> None:
    assert "4 changed" in two_tier.deploy()
    assert "4 unchanged" in two_tier.deploy()


def test_verify_is_green_with_a_socket_idle_for_over_a_minute(two_tier: Fleet, tmp_path: Path) -> None:
    junit, page = tmp_path / "junit.xml", tmp_path / "report.html"
    shown = two_tier.restante("verify", "--lab", "--junit", str(junit), "--html", str(page))
    assert ", 0 failed" in shown
    assert "websocket-idle" in shown
    assert "testsuite" in junit.read_text()
    assert "websocket-idle" in page.read_text()


def test_the_bundle_stands_on_its_own(two_tier: Fleet, tmp_path: Path) -> None:
    """Plain ansible-playbook and plain pytest do the same without our command."""
    bundle, binaries = tmp_path / "bundle", Path(sys.executable).parent
    two_tier.restante("render", "--out", str(bundle))
    chain, key = certificate(two_tier.lab.authority, "mail.example.org")
    environment = {
        **os.environ,
        "RESTANTE_LAB_CERTIFICATE": chain,
        "RESTANTE_LAB_KEY": key,
        "PATH": f"{binaries}:{os.environ['PATH']}",
    }
    ssh = f"ansible_ssh_common_args=-F{two_tier.lab.ssh_config}"
    playbook = [str(binaries / "ansible-playbook"), "-i", f"{bundle}/inventory.yml", f"{bundle}/site.yml", "-e", ssh]
    done = subprocess.run([*two_tier.lab.prefix(), *playbook], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("changed=0") == 4
    checks = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        f"--rootdir={bundle}/checks",
        "--quick",
    ]
    checks += [
        f"--restante-ssh-config={two_tier.lab.ssh_config}",
        f"--restante-ca={two_tier.lab.authority}/ca.pem",
        f"{bundle}/checks",
    ]
    done = subprocess.run([*two_tier.lab.prefix(), *checks], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_reload_keeps_established_sockets_until_the_drain_limit(two_tier: Fleet) -> None:
    command = [sys.executable, str(HELD), "192.0.2.11", "mail.example.org", f"{two_tier.lab.authority}/ca.pem"]
    with subprocess.Popen([*two_tier.lab.prefix(), *command], stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout
        assert held.stdout.readline() == "open\n"
        own = 'overrides: {nginx: [{context: server, directives: "gzip on;", because: our answers are large}]}\n'
        two_tier.spec.write_text(two_tier.original + own)
        assert "2 changed, 2 unchanged" in two_tier.deploy()
        reloaded = time.monotonic()
        lines = list(held.stdout)
        drained = time.monotonic() - reloaded
    assert lines[-1] == "closed\n"
    assert lines.count("alive\n") > 10, "the socket went on answering while its old worker drained"
    assert drained < 30, "worker_shutdown_timeout is 20 s"
    two_tier.spec.write_text(two_tier.original)
    assert "2 changed" in two_tier.deploy("--rollback", "--limit", "edge-1,edge-2")
    assert "4 unchanged" in two_tier.deploy()


def test_a_broken_override_is_refused_and_the_hosts_still_serve(two_tier: Fleet) -> None:
    broken = 'overrides: {nginx: [{context: server, directives: "frobnicate on;", because: this is no directive}]}\n'
    two_tier.spec.write_text(two_tier.original + broken)
    shown = two_tier.deploy(status=1)
    two_tier.spec.write_text(two_tier.original)
    assert 'unknown directive "frobnicate"' in shown
    assert "Not touched" in shown
    assert two_tier.failed() == set()


@pytest.mark.parametrize(
    ("host", "disturb", "mend", "expected"),
    [
        ("app-1", "sysctl -qw net.ipv4.tcp_retries2=15", "sysctl -qw net.ipv4.tcp_retries2=8", "kernel-as-planned"),
        ("edge-1", "echo >> /etc/nginx/restante/site.conf", "sed -i '$d' /etc/nginx/restante/site.conf", "files-as-rendered"),
        ("edge-2", "systemctl stop restante-tls.path", "systemctl start restante-tls.path", "certificate-watched"),
        ("edge-2", f"cp -a {CHAIN} /run/chain && cp {FOREIGN} {CHAIN}", f"mv /run/chain {CHAIN}", "certificate-taken"),
        ("app-2", "nft delete table inet restante", "systemctl restart restante-firewall", "firewall-as-planned"),
    ],
)  # fmt: skip
def test_verify_names_what_was_disturbed(two_tier: Fleet, host: str, disturb: str, mend: str, expected: str) -> None:
    two_tier.on(host, disturb)
    try:
        assert (expected, host) in two_tier.failed("--limit", host)
    finally:
        two_tier.on(host, mend)
    assert two_tier.failed("--limit", host) == set()


def test_a_waiver_with_its_reason_lets_one_check_fail(two_tier: Fleet) -> None:
    waiver = "waivers: [{check: kernel-as-planned, host: app-1, because: the vendor asked for a trace}]\n"
    two_tier.spec.write_text(two_tier.original + waiver)
    two_tier.on("app-1", "sysctl -qw net.ipv4.tcp_retries2=15")
    try:
        shown = two_tier.restante("verify", "--lab", "--quick", "--only", "kernel-as-planned")
    finally:
        two_tier.on("app-1", "sysctl -qw net.ipv4.tcp_retries2=8")
        two_tier.spec.write_text(two_tier.original)
    assert "waived: kernel-as-planned on app-1: the vendor asked for a trace" in shown


def test_a_killed_service_comes_back_and_a_person_is_told(two_tier: Fleet) -> None:
    first = two_tier.on("app-1", "systemctl show -P MainPID backend")
    two_tier.on("app-1", f"kill -9 {first}")
    until(lambda: two_tier.on("app-1", "systemctl show -P MainPID backend") not in {first, "0"}, "a restart")
    until(lambda: "backend.service stopped" in two_tier.on("app-1", "journalctl -t restante-alert -o cat"), "the alert")


def test_a_renewed_certificate_is_taken_and_a_wrong_one_is_refused(two_tier: Fleet, tmp_path: Path) -> None:
    served = (
        "echo | openssl s_client -connect 127.0.0.1:443 -servername mail.example.org 2>/dev/null "
        "| openssl x509 -noout -fingerprint -sha256"
    )
    before = two_tier.on("edge-1", served)
    chain, key = certificate(tmp_path / "other", "mail.example.org")
    put = "cat > /etc/restante/tls/{0}.new && mv /etc/restante/tls/{0}.new /etc/restante/tls/{0}"
    edge = two_tier.lab.host("edge-1")
    edge.exec(["sh", "-c", put.format("fullchain.pem")], input=chain)
    until(lambda: "does not belong" in two_tier.on("edge-1", "journalctl -t restante-alert -o cat"), "the alert")
    assert two_tier.on("edge-1", served) == before, "nginx keeps the pair that belongs together"
    two_tier.on("edge-1", "systemctl restart nginx")
    assert two_tier.on("edge-1", served) == before, "a start anew finds it too"
    edge.exec(["sh", "-c", put.format("privkey.pem")], input=key)
    until(lambda: two_tier.on("edge-1", served) != before, "the reload with the new certificate")
    assert "2 unchanged" not in two_tier.deploy("--limit", "edge-1")
    until(lambda: two_tier.on("edge-1", served) == before, "the deployed certificate")


def test_a_host_that_is_down_fails_alone_and_is_named(two_tier: Fleet) -> None:
    two_tier.lab.host("app-2").power_cut()
    try:
        shown = two_tier.deploy(status=1)
    finally:
        two_tier.lab.host("app-2").power_on()
    assert "app-2: unreachable" in shown
    assert "3 unchanged" in shown
    assert "4 unchanged" in two_tier.deploy()
