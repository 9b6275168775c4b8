"""Drills on staging hosts, without hosts: what is refused, what is said before, and that a host knows how to heal before it is broken."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from restante.checks.bundle import Bundle
from restante.cli.drill import command
from restante.cli.session import bundle_for, plan_for
from restante.deploy.state import HostState
from restante.drills.console import Remote
from restante.drills.run import Order
from restante.drills.scenarios.staging import DROP, PASS, SCENARIOS
from restante.drills.staging import hosts as staging_hosts
from restante.drills.staging import leash, lodging, reach
from restante.drills.staging import run as staging_run
from restante.drills.staging.hosts import Hosts
from restante.errors import FoundError, InputError

SPEC = """
restante: 1
domain: mail.example.org
agents: 50
hosts:
  solo: {ipv4: 192.0.2.31, os: debian-13, tiers: [edge, post]}
inboxes: {domains: [example.org], predefined: [support]}
tls: {lab: true}
"""
FLEET = """
restante: 1
domain: mail.example.org
agents: 50
hosts:
  edge-1: {ipv4: 192.0.2.11, os: debian-13, tiers: [edge]}
  post-1: {ipv4: 192.0.2.21, os: debian-13, tiers: [post], ssh: {user: admin, become: true}}
  store-1: {ipv4: 192.0.2.31, os: debian-12, tiers: [store]}
inboxes: {domains: [example.org], predefined: [support]}
store: {engine: postgresql, lab: true}
tls: {lab: true}
"""
ALLOWED = "drills: allowed\n"


class Heard:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, text: str) -> None:
        self.lines.append(text)

    def plays(self, order: Order) -> None: ...

    def over(self, order: Order) -> None: ...


def written(folder: Path, text: str) -> Path:
    (folder / "spec.yml").write_text(text)
    return folder / "spec.yml"


def known(folder: Path, text: str) -> Hosts:
    spec = written(folder, text)
    bundle_for(spec, folder / "bundle")
    bundle = Bundle.read(folder / "bundle")
    return Hosts(plan_for(spec).spec, bundle, {name: ["ssh", name] for name in bundle.hosts})


def order(name: str, folder: Path) -> Order:
    return Order(next(each for each in SCENARIOS if each.name == name), 1, True, folder)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A run that gets as far as the hosts takes Ctrl-C and SIGTERM for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# -- what is refused


@pytest.mark.parametrize(
    ("spec", "argv", "sentence"),
    [
        (SPEC, (), "nothing says that these hosts may be broken"),
        (SPEC + "drills: refused\n", (), "write into the spec: drills: allowed"),
        (SPEC + ALLOWED, ("age-cap",), "there is no scenario age-cap; restante drill list --staging names all"),
        (SPEC + ALLOWED, ("store-away",), "store-away cannot be played on these hosts: there is no host of tier store"),
    ],
)
def test_what_a_spec_does_not_allow_or_has_not_is_refused(
    tmp_path: Path, spec: str, argv: tuple[str, ...], sentence: str
) -> None:
    path = written(tmp_path, spec)
    done = CliRunner().invoke(command, ["run", *argv, "--staging", str(path), "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, InputError)
    assert sentence in str(done.exception)
    assert not (tmp_path / "out").exists(), "it began all the same"


def test_hosts_without_a_post_office_have_nothing_to_watch(tmp_path: Path) -> None:
    inboxes = "inboxes: {domains: [example.org], predefined: [support]}"
    edge = "edge: {routes: [{path: /ws, kind: websocket, upstreams: '192.0.2.99:80'}]}"
    spec = written(tmp_path, SPEC.replace("[edge, post]", "[edge, app]").replace(inboxes, edge) + ALLOWED)
    done = CliRunner().invoke(command, ["run", "--staging", str(spec)])
    assert "a drill needs a host of tier post: the mail goes there" in str(done.exception)


def test_a_lab_is_of_staging_hosts_or_of_the_drills_own() -> None:
    done = CliRunner().invoke(command, ["run", "silence", "--lab"])
    assert "--lab says where the hosts of --staging SPEC are" in str(done.exception)


def test_hosts_that_are_not_healthy_are_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        staging_hosts, "ask", lambda *_: [HostState("solo", ["post"], "1", away="does not answer within 30 s")]
    )
    hosts = known(tmp_path, SPEC + ALLOWED)
    monkeypatch.setattr(leash.Leash, "pull", lambda _: pytest.fail("it began all the same"))
    with pytest.raises(FoundError, match=r"nothing was broken yet(.|\n)*solo: does not answer within 30 s"):
        staging_run.play([order("deaths", tmp_path)], hosts, Heard())


# -- what is played where


def test_the_list_has_those_for_staging_hosts() -> None:
    shown = CliRunner().invoke(command, ["list", "--staging"]).output
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["2", "silence"], ["7", "deaths"], ["8", "planned-cuts"], ["9", "stalled-proxy"], ["10", "store-away"],
        ["12", "poison"], ["13", "restart-everything"], ["14", "all-cut"],
    ]  # fmt: skip
    assert all(each.sides == ("kit",) and each.machines for each in SCENARIOS)


def test_what_the_hosts_have_not_is_left_out_and_said(tmp_path: Path) -> None:
    heard = Heard()
    fit = staging_run.fitting(known(tmp_path, SPEC + ALLOWED), SCENARIOS, heard, named=False)
    assert len(fit) == len(SCENARIOS) - 1
    assert heard.lines == ["store-away is left out: there is no host of tier store"]


def test_the_store_that_is_stopped_is_the_one_that_the_bundle_names(tmp_path: Path) -> None:
    hosts = known(tmp_path, FLEET + ALLOWED)
    assert hosts.engine == "postgresql@15-main.service"
    assert len(staging_run.fitting(hosts, SCENARIOS, Heard(), named=False)) == len(SCENARIOS)


def test_it_is_said_before_what_is_done_to_which_hosts(tmp_path: Path) -> None:
    orders = [order(name, tmp_path) for name in ("silence", "deaths", "deaths")]
    first, *lines = staging_run.announcement(orders, known(tmp_path, FLEET + ALLOWED))
    assert "about to be broken" in first
    assert [line.split(":")[0].strip() for line in lines] == ["silence", "deaths"]
    assert lines[0].endswith("edge-1 (192.0.2.11)")
    assert lines[1].endswith("post-1 (192.0.2.21)")


# -- healing

FAKE_SYSTEMD_RUN = """#!/bin/sh
# What systemd does with the unit: runs it, and its ExecStopPost however it ended.
echo "systemd-run $*" >> "$LOG"
while [ "${1#-}" != "$1" ]; do
  case "$1" in -p) shift; case "$1" in ExecStopPost=*) stop="${1#ExecStopPost=}";; esac;; esac
  shift
done
"$@"; status=$?
$stop && exit $status
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs what a leash gives a host, with systemd played by two scripts; `log` has what they were asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {
        "systemd-run": FAKE_SYSTEMD_RUN,
        "systemctl": '#!/bin/sh\n[ ! -e "$TAKEN" ] || echo "$5"\n',
    }.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setattr(leash, "FOLDER", str(tmp_path / "run"))
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "LOG": str(tmp_path / "log"),
        "TAKEN": str(tmp_path / "taken"),
    }

    class Local(Remote):
        def command(self, argv: Any) -> list[str]:
            return ["env", *(f"{key}={value}" for key, value in environment.items()), *argv]

    return Local("solo", "192.0.2.31", [])


def test_a_host_knows_how_to_heal_before_it_is_broken(tmp_path: Path, host: Remote) -> None:
    inject = f"cp {tmp_path}/run/x.heal {tmp_path}/there; test -s {tmp_path}/run/x.heal; touch {tmp_path}/broken"
    held = leash.Leash(host, "x", inject, f"rm -f {tmp_path}/broken", 7)
    held.pull()
    assert (tmp_path / "broken").exists()
    assert f"rm -f {tmp_path}/broken" in (tmp_path / "there").read_text()
    asked = (tmp_path / "log").read_text()
    assert f"ExecStopPost=/bin/sh {tmp_path}/run/x.heal" in asked
    assert "RuntimeMaxSec=7" in asked
    held.let_go()
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "run").exists(), "something is left"


def test_a_host_heals_when_the_process_that_broke_it_is_gone(tmp_path: Path, host: Remote) -> None:
    held = leash.Leash(host, "x", f"touch {tmp_path}/broken", f"rm {tmp_path}/broken", 60)
    held.pull()
    assert held._process
    assert held._process.stdin
    held._process.stdin.close()  # as the kernel does for a process that is killed
    held._process.wait(10)
    assert not (tmp_path / "broken").exists()


def test_a_fault_that_cannot_be_brought_is_healed_and_says_why(tmp_path: Path, host: Remote) -> None:
    held = leash.Leash(
        host, "x", f"touch {tmp_path}/broken; echo 'it would not' >&2; false", f"rm {tmp_path}/broken", 60
    )
    with pytest.raises(FoundError, match="solo: it would not"):
        held.pull()
    assert not (tmp_path / "broken").exists()
    held.let_go()


def test_what_is_written_there_is_what_was_meant(tmp_path: Path, host: Remote) -> None:
    line = f"""printf '%s' "$(echo "a  b")" 'c"d' > {tmp_path}/said"""
    held = leash.Leash(host, "x", line, ":", 60)
    held.pull()
    held.let_go()
    assert (tmp_path / "said").read_text() == 'a  bc"d'


def test_a_fault_that_did_not_last_is_not_taken_for_one_that_did(tmp_path: Path, host: Remote) -> None:
    held = leash.Leash(host, "x", "echo noise", ":", 60)
    held.pull()
    assert held._process
    assert held._process.stdin
    held._process.stdin.close()  # as its time ends, or somebody stops the unit
    held._process.wait(10)
    with pytest.raises(FoundError, match="over before its time"):
        held.let_go()


def test_one_drill_at_a_time(tmp_path: Path, host: Remote) -> None:
    (tmp_path / "taken").touch()
    held = leash.Leash(host, "x", f"touch {tmp_path}/broken", ":", 60)
    with pytest.raises(FoundError, match="a drill is under way here"):
        held.pull()
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "log").exists()


def test_the_packets_that_are_dropped_are_of_the_edges_port_alone() -> None:
    assert DROP.count("drop;") == 2
    assert 'iifname != "lo" tcp dport 443' in DROP
    assert 'oifname != "lo" tcp sport 443' in DROP
    assert "flush" not in DROP + PASS, "somebody's own rules are in the other tables"


# -- lodging


class Office:
    """A post office's inboxes and tokens, as its API has them."""

    def __init__(self) -> None:
        self.inboxes = {
            "support@example.org": "",
            "restante-drill-notes@example.org": "",
            "restante-drill-0badcafe-1@example.org": "",
        }
        self.tokens: dict[str, bool] = {"crm": True, "restante-drill-not-ours": True}
        self.stuck = False

    def ask(self, _: Remote, path: str, body: Any = None, method: str = "GET") -> Any:
        address = path.partition("?")[0].rpartition("/")[2]
        if path == "/inboxes" and method == "POST":
            self.inboxes[f"{body['username']}@{body['domain']}"] = body["display_name"]
        elif path == "/tokens" and method == "POST":
            self.tokens[body["name"]] = True
            return {"token": "secret", **body}
        elif method == "DELETE" and "/tokens/" in path:
            self.tokens[address] = False
        elif method == "DELETE":
            assert path.endswith("?force=true")
            del self.inboxes[address]
        elif path == "/tokens":
            return {
                "items": [
                    {"id": name, "name": name, "revoked_at": None if good else 1.0}
                    for name, good in self.tokens.items()
                ]
            }
        return {
            "items": [
                {"inbox_id": name, "username": name.split("@")[0], "display_name": mark}
                for name, mark in self.inboxes.items()
            ],
            "next_cursor": None,
        }


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Office:
    made = Office()
    monkeypatch.setattr(lodging.office, "ask", made.ask)
    monkeypatch.setattr(lodging.office, "ready", lambda _: None)
    monkeypatch.setattr(lodging.office, "queued", lambda *_: int(made.stuck))
    monkeypatch.setattr(lodging, "QUEUE_S", 0)
    return made


POSTS = [Remote("solo", "192.0.2.31", [])]


def test_inboxes_and_token_are_the_drills_own_and_go_again(office: Office) -> None:
    before, run = dict(office.inboxes), lodging.name()
    with lodging.lodging(POSTS, run, [f"{run}-1@mail-1.example.org", f"{run}-2@example.org"]) as token:
        assert token == "secret"
        assert office.inboxes.keys() - before.keys() == {f"{run}-1@mail-1.example.org", f"{run}-2@example.org"}
    assert office.inboxes == before
    assert office.tokens == {"crm": True, "restante-drill-not-ours": True, run: False}


def test_they_go_when_the_run_fails(office: Office) -> None:
    before, run = dict(office.inboxes), lodging.name()
    with pytest.raises(KeyboardInterrupt), lodging.lodging(POSTS, run, [f"{run}-1@mail-1.example.org"]):
        raise KeyboardInterrupt
    assert office.inboxes == before
    assert not office.tokens[run]


def test_what_a_killed_run_left_is_removed_and_nothing_that_only_looks_so(office: Office) -> None:
    before, run = dict(office.inboxes), lodging.name()
    office.inboxes[f"{run}-1@mail-1.example.org"] = lodging.MARK
    office.tokens[run] = True
    assert lodging.sweep(POSTS) == [run]
    assert office.inboxes == before
    assert office.tokens == {"crm": True, "restante-drill-not-ours": True, run: False}


def test_an_inbox_stays_while_its_mail_is_under_way(office: Office) -> None:
    run, office.stuck = lodging.name(), True
    office.inboxes[f"{run}-1@mail-1.example.org"] = lodging.MARK
    with pytest.raises(FoundError, match="Postfix on solo still holds mail of the drill"):
        lodging.leave(POSTS, run)
    assert f"{run}-1@mail-1.example.org" in office.inboxes


# -- the document is the one that there is


def test_a_history_says_how_it_is_played_again(tmp_path: Path) -> None:
    played = Order(SCENARIOS[0], 7, True, tmp_path, " --staging staging.yml")
    header = json.loads(json.dumps(played.header()))
    assert header["command"] == "restante drill run silence --seed 7 --quick --staging staging.yml"
    assert header["sides"] == ["kit"]


def test_every_line_is_one_that_a_shell_can_read() -> None:
    for text in (DROP, PASS, leash.script("x", DROP, PASS, 1)):
        assert subprocess.run(["sh", "-n", "-c", text], capture_output=True).returncode == 0, text


# -- the ways from here


def test_a_way_that_is_shut_is_a_sentence_that_says_what_to_do() -> None:
    assert "nowhere.invalid does not resolve here" in next(reach.edge("nowhere.invalid"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "many networks let no mail out" in next(reach.post("127.0.0.1", port))


@pytest.mark.parametrize(("greeting", "found"), [(b"220 mx ESMTP\r\n", []), (b"554 go away\r\n", ["554 go away"])])
def test_a_post_host_greets_as_a_mail_server_does(greeting: bytes, found: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(greeting))
        thread.start()
        said = list(reach.post("127.0.0.1", server.getsockname()[1]))
        thread.join()
    assert [sentence.rpartition(": ")[2] for sentence in said] == found
