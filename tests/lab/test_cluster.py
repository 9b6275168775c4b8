"""What examples/ha.yml survives: the death of any host under load, with every mail that was answered 250 at its agent, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from ha_fleet import STORES, HaFleet
from test_examples import Fleet

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("ha"), "ha")
    try:
        made.restante("up")
        made.deploy()
        yield made
    finally:
        made.restante("down")


@pytest.fixture(scope="module")
def ha(fleet: Fleet) -> Iterator[HaFleet]:
    made = HaFleet(fleet)
    yield made
    made.agent.end()


def test_it_is_as_deployed(fleet: Fleet) -> None:
    assert "8 unchanged" in fleet.deploy()
    assert ", 0 failed" in fleet.restante("verify", "--lab", "--quick")


def power_cut_of_the_leader(ha: HaFleet) -> None:
    victim = ha.leader
    ha.machine(victim).link(False)
    ha.machine(victim).power_cut()
    time.sleep(30)
    ha.machine(victim).link(True)
    ha.machine(victim).power_on()


def power_cut_of_the_synchronous_standby(ha: HaFleet) -> None:
    victim = ha.named("sync_standby")
    ha.machine(victim).power_cut()
    time.sleep(30)
    ha.machine(victim).power_on()


def power_cut_of_both_standbys(ha: HaFleet) -> None:
    victims = [ha.machine(name) for name in STORES if name != ha.leader]
    for victim in victims:
        victim.power_cut()
    time.sleep(15)
    for victim in victims:
        victim.power_on()


def freeze_of_the_leader(ha: HaFleet) -> None:
    victim = ha.machine(ha.leader)
    victim.freeze()
    time.sleep(30)
    victim.thaw()


@pytest.mark.parametrize(
    ("fault", "gap_s"),
    [
        (power_cut_of_the_leader, 25),
        (power_cut_of_the_synchronous_standby, 30),
        (power_cut_of_both_standbys, 60),
        (freeze_of_the_leader, 25),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_no_mail_is_lost(ha: HaFleet, fault: Callable[[HaFleet], None], gap_s: float) -> None:
    told = ha.play(lambda: fault(ha))
    print(f"{fault.__name__}: gap {told.gap_s:.1f} s, late {told.late_s:.1f} s")
    assert not told.lost
    assert not told.twice
    assert told.gap_s < gap_s
    assert told.late_s < 10
