"""One address between two edges, on Debian 12 and 13: it follows a power cut and a dead nginx, and stays where it is otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from test_examples import HELD, Fleet, until

pytestmark = [pytest.mark.lab, pytest.mark.alone]
EDGES = ("edge-1", "edge-2")
FLOATING = ("192.0.2.100", "2001:db8::100")
DOMAIN = "agents.example.org"
SECURED = """
import socket, ssl, sys
address, domain, authority = sys.argv[1:]
plain = socket.create_connection((address, 443), 0.5)
ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname=domain)
"""
STOP_GRACE_S = 2
NOTICE_S = 1.0  # what a poll of this test takes on a busy machine


class Pair:
    """Both edges, and what a client of the lab's network sees of them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        shown = json.loads(fleet.restante("explain", "--json"))
        self.bound = {
            key: shown["values"][f"floating.{key}"]["value"] for key in ("takeover", "giveaway", "advert_interval")
        }

    def holders(self, address: str = FLOATING[0]) -> list[str]:
        running = [name for name in EDGES if self.fleet.lab.host(name).running()]
        return [name for name in running if f" {address}/" in self.fleet.on(name, "ip -o address show")]

    def holder(self) -> str:
        until(lambda: len(self.holders()) == 1, "one holder")
        return self.holders()[0]

    def answers(self, address: str = FLOATING[0]) -> bool:
        """An edge's own TLS, under the domain's name; what stands behind it may be away with the other edge."""
        command = [sys.executable, "-c", SECURED, address, DOMAIN, f"{self.fleet.lab.authority}/ca.pem"]
        done = subprocess.run([*self.fleet.lab.prefix(), *command], stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    def moved(self, name: str, since: float, bound_s: float) -> None:
        """It answers again in time, and from `name`."""
        until(self.answers, "an answer at the floating address", since + bound_s + NOTICE_S - time.monotonic())
        assert self.holders() == [name]


def other(name: str) -> str:
    return EDGES[1 - EDGES.index(name)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    fleet = Fleet(tmp_path_factory.mktemp("floating"), "floating-address")
    try:
        fleet.restante("up")
        fleet.deploy()
        made = Pair(fleet)
        made.holder()
        yield made
    finally:
        fleet.restante("down")


def test_one_edge_holds_both_families_and_verify_says_so(pair: Pair) -> None:
    assert pair.holders(FLOATING[0]) == pair.holders(FLOATING[1]) == [pair.holder()]
    assert all(pair.answers(address) for address in FLOATING)
    assert "2 unchanged" in pair.fleet.deploy()
    shown = pair.fleet.restante("verify", "--lab", "--quick")
    assert ", 0 failed" in shown
    assert "floating-address-held" in shown
    assert "floating-address-answers" in shown


def test_a_power_cut_moves_it_within_three_adverts_and_a_skew(pair: Pair) -> None:
    first = pair.holder()
    since = time.monotonic()
    pair.fleet.lab.host(first).power_cut()
    pair.moved(other(first), since, pair.bound["takeover"])
    assert all(pair.answers(address) for address in FLOATING)


def test_who_comes_back_takes_it_from_nobody(pair: Pair) -> None:
    second = pair.holder()
    pair.fleet.lab.host(other(second)).power_on()
    until(lambda: pair.fleet.on(other(second), "systemctl is-active keepalived || true") == "active", "keepalived", 60)
    stays(pair, second)
    assert pair.fleet.failed() == set()


def test_an_edge_whose_nginx_stops_gives_it_away_and_does_not_take_it_back(pair: Pair) -> None:
    first = pair.holder()
    pair.fleet.on(first, "systemctl stop nginx")
    pair.moved(other(first), time.monotonic(), pair.bound["giveaway"])
    pair.fleet.on(first, "systemctl start nginx")
    stays(pair, other(first))


def test_an_nginx_that_hangs_gives_it_away_too(pair: Pair) -> None:
    """Its kernel goes on accepting connections, and nothing answers on them."""
    first = pair.holder()
    pair.fleet.on(first, "pkill -STOP nginx")
    try:
        pair.moved(other(first), time.monotonic(), pair.bound["giveaway"])
    finally:
        pair.fleet.on(first, "pkill -CONT nginx")
    stays(pair, other(first))


def test_a_restart_of_nginx_and_a_reload_of_keepalived_move_nothing(pair: Pair) -> None:
    """Of an nginx that has a socket to cut, so that its stop lasts as long as it may."""
    first = pair.holder()
    held = [sys.executable, str(HELD), FLOATING[0], DOMAIN, f"{pair.fleet.lab.authority}/ca.pem"]
    with subprocess.Popen([*pair.fleet.lab.prefix(), *held], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        assert client.stdout.readline() == "open\n"
        began = time.monotonic()
        pair.fleet.on(first, "systemctl restart nginx")
        assert time.monotonic() - began > STOP_GRACE_S
    pair.fleet.on(first, "systemctl reload keepalived")
    stays(pair, first)


def test_an_orderly_stop_hands_it_over_at_once(pair: Pair) -> None:
    first = pair.holder()
    pair.fleet.on(first, "systemctl stop keepalived")
    pair.moved(other(first), time.monotonic(), pair.bound["advert_interval"])
    pair.fleet.on(first, "systemctl start keepalived")
    stays(pair, other(first))


def test_a_killed_keepalived_leaves_no_second_holder(pair: Pair) -> None:
    """A dead process takes no address away: the one that is started anew does, before it does anything else."""
    first = pair.holder()
    pair.fleet.on(first, "systemctl kill -s KILL keepalived")
    until(lambda: pair.fleet.on(first, "systemctl is-active keepalived || true") == "active", "a restart")
    until(lambda: len(pair.holders()) == 1 and pair.answers(), "one holder that answers")
    assert pair.fleet.failed() == set()


def test_of_two_that_boot_at_once_one_takes_it(pair: Pair) -> None:
    for name in EDGES:
        pair.fleet.lab.host(name).power_cut()
    pair.fleet.restante("up")
    until(lambda: pair.holders() and pair.answers(), "an answer after both were away")
    stays(pair, pair.holder())


def test_verify_names_an_address_that_two_edges_hold(pair: Pair) -> None:
    held = other(pair.holder())
    pair.fleet.on(held, f"ip address add {FLOATING[0]}/32 dev eth0")
    try:
        assert pair.fleet.failed("--only", "floating-address-held") == {
            ("floating-address-held", name) for name in EDGES
        }
    finally:
        pair.fleet.on(held, f"ip address del {FLOATING[0]}/32 dev eth0")


def test_an_address_that_is_on_no_interface_is_named(pair: Pair) -> None:
    script = "sed 's/192.0.2.4[12]/192.0.2.99/' /usr/local/lib/restante/floating-interface | sh"
    done = pair.fleet.lab.host(EDGES[0]).exec(["sh", "-c", script])
    assert done.returncode == 1
    assert "no interface of this host carries 192.0.2.99" in done.stderr


def test_taken_out_of_the_spec_it_is_nobodys(pair: Pair) -> None:
    lines = pair.fleet.original.splitlines(keepends=True)
    pair.fleet.spec.write_text("".join(line for line in lines if not line.startswith("  floating:")))
    assert "2 changed" in pair.fleet.deploy()
    assert pair.holders() == pair.holders(FLOATING[1]) == []
    assert "2 changed" in pair.fleet.deploy("--rollback")
    until(lambda: pair.holders() and pair.answers(), "an answer after the rollback")


def stays(pair: Pair, name: str) -> None:
    """For longer than either way of moving takes."""
    end = time.monotonic() + max(pair.bound.values()) + NOTICE_S
    while time.monotonic() < end:
        assert pair.holders() == [name]
        time.sleep(0.2)
