"""What examples/ha.yml survives: the death of any host under load, with every mail that was answered 250 at its agent, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from ha_fleet import EDGES, POSTS, STORES, HaFleet
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


def power_cut(ha: HaFleet, *names: str, away_s: float) -> None:
    for name in names:
        ha.machine(name).power_cut()
    time.sleep(away_s)
    for name in names:
        ha.machine(name).power_on()


def parted_leader(ha: HaFleet) -> str:
    """Its lead and etcd's are on two hosts, as they are a minute after each change: the fault before was seconds ago."""
    leader = ha.leader
    ha.fleet.on(leader, "systemctl start restante-cluster.service")
    return leader


def power_cut_of_the_leader(ha: HaFleet) -> None:
    power_cut(ha, parted_leader(ha), away_s=30)


def power_cut_of_the_synchronous_standby(ha: HaFleet) -> None:
    power_cut(ha, ha.named("sync_standby"), away_s=30)


def power_cut_of_both_standbys(ha: HaFleet) -> None:
    """Two of three etcds are away too: nobody may lead, and commits wait."""
    power_cut(ha, *(name for name in STORES if name != ha.leader), away_s=15)


def power_cut_of_an_edge(ha: HaFleet) -> None:
    power_cut(ha, next(iter(EDGES)), away_s=20)


def power_cut_of_a_post_host_whose_queue_is_not_empty(ha: HaFleet) -> None:
    ha.posts[0].sh("systemctl kill -s STOP restante-server.service")
    time.sleep(3)
    assert ha.posts[0].queued() > 3
    power_cut(ha, ha.posts[0].name, away_s=5)


def reboot_of_all_stores_at_once(ha: HaFleet) -> None:
    power_cut(ha, *STORES, away_s=1)


def freeze_of_the_leader(ha: HaFleet) -> None:
    victim = ha.machine(parted_leader(ha))
    victim.freeze()
    time.sleep(30)
    victim.thaw()


def crash_of_postgresql(ha: HaFleet) -> None:
    ha.fleet.on(ha.leader, "pkill -KILL -o -x postgres")


def death_of_etcd_beside_the_leader(ha: HaFleet) -> None:
    victim = ha.leader
    ha.fleet.on(victim, "systemctl stop etcd")
    time.sleep(15)
    ha.fleet.on(victim, "systemctl start etcd")


def cut(ha: HaFleet, name: str, away_s: float, **matches: str) -> None:
    """The packets that match, by hook, are dropped in silence on the host."""
    chains = "\n".join(
        f"chain {hook} {{ type filter hook {hook} priority -10; {match} drop; }}" for hook, match in matches.items()
    )
    ha.fleet.on(name, f"nft 'table inet lab_cut {{\n{chains}\n}}'")
    time.sleep(away_s)
    ha.fleet.on(name, "nft delete table inet lab_cut")


def partition_of_the_leader_from_etcd(ha: HaFleet) -> None:
    ports = "tcp dport { 2379, 2380 }"
    cut(ha, ha.leader, 30, input=f"iifname != lo {ports}", output=f"oifname != lo {ports}")


def partition_of_a_post_host_from_the_store(ha: HaFleet) -> None:
    cut(ha, ha.posts[0].name, 15, output="tcp dport 5432")


def loss_one_way_to_the_leader(ha: HaFleet) -> None:
    cut(ha, ha.leader, 30, input="ip saddr 198.51.100.0/24 tcp dport != 22")


# Fault -> the longest that no commit may be, in seconds. After a power cut the leader's word must run out first (cluster.ttl),
# and a silent member is waited for as long as cluster.sender_timeout says.
FAULTS: dict[Callable[[HaFleet], None], float] = {
    power_cut_of_the_leader: 25,
    freeze_of_the_leader: 30,  # cluster.ttl, and store.let_go for a commit that waits there
    crash_of_postgresql: 10,
}
LONG: dict[Callable[[HaFleet], None], float] = {
    power_cut_of_the_synchronous_standby: 20,
    power_cut_of_both_standbys: 60,
    reboot_of_all_stores_at_once: 60,
    death_of_etcd_beside_the_leader: 10,
    partition_of_the_leader_from_etcd: 35,
    loss_one_way_to_the_leader: 35,
    partition_of_a_post_host_from_the_store: 35,
    power_cut_of_a_post_host_whose_queue_is_not_empty: 20,
    power_cut_of_an_edge: 5,
}


# An agent whose own path died in silence knows it after 35 s at worst (docs/explanation/liveness.md).
SILENT = {power_cut_of_an_edge, power_cut_of_a_post_host_whose_queue_is_not_empty}


@pytest.mark.parametrize(
    ("fault", "gap_s"),
    [*FAULTS.items(), *(pytest.param(*each, marks=pytest.mark.long) for each in LONG.items())],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_no_mail_is_lost_and_the_gap_is_bounded(ha: HaFleet, fault: Callable[[HaFleet], None], gap_s: float) -> None:
    told = ha.play(lambda: fault(ha))
    print(f"{fault.__name__}: {told.gap_s:.1f} s without a commit, handled {told.late_s:.1f} s later at most")
    assert not told.lost
    assert not told.twice
    assert told.gap_s < gap_s
    assert told.late_s < (40 if fault in SILENT else 15)


def test_a_rolling_upgrade_and_its_rollback_lose_nothing_and_refuse_nobody(ha: HaFleet) -> None:
    """Every component of every store and post host changes under load: members one at a time, the lead handed over first."""
    fleet, before = ha.fleet, ha.leader
    fleet.spec.write_text(fleet.original.replace("engine: postgresql-ha", "engine: postgresql-ha, disk: 100G"))
    said: list[str] = []
    up = ha.play(lambda: said.append(fleet.deploy()), mails=300)
    assert not up.lost | up.twice
    changed = ",".join((*STORES, *POSTS))  # the others have no release before this one to go back to
    assert "8 hosts: 5 changed, 3 unchanged" in said[0]
    assert up.gap_s < 10
    back = ha.play(lambda: said.append(fleet.deploy("--rollback", "--limit", changed)), mails=300)
    assert not back.lost | back.twice
    assert back.gap_s < 10
    print(f"upgrade: {up.gap_s:.1f} s without a commit; rollback: {back.gap_s:.1f} s; {before} led, {ha.leader} leads")
    fleet.spec.write_text(fleet.original)
    assert ", 0 failed" in fleet.restante("verify", "--lab", "--quick")


def test_a_member_that_the_others_need_is_not_touched(ha: HaFleet) -> None:
    """With one member away the others agree just so: a deploy that changes one of them is refused before anything is changed."""
    away = next(name for name in STORES if name != ha.leader)
    ha.machine(away).power_cut()
    ha.fleet.spec.write_text(ha.fleet.original.replace("engine: postgresql-ha", "engine: postgresql-ha, disk: 100G"))
    others = [name for name in STORES if name != away]
    try:
        said = ha.fleet.deploy("--limit", ",".join(others), status=1)
        assert f"{others[0]} cannot be spared" in said
        assert "nothing was changed" in said
    finally:
        ha.fleet.spec.write_text(ha.fleet.original)
        ha.machine(away).power_on()
        ha.mended()


@pytest.mark.long
def test_a_member_whose_disk_is_gone_comes_back_by_the_runbook(ha: HaFleet) -> None:
    names = [name for name in STORES if name != ha.leader]
    lost, well = names
    ha.fleet.on(lost, "systemctl stop patroni etcd; rm -rf /var/lib/etcd/restante /var/lib/postgresql/*/restante")
    addresses = {name: f"198.51.100.{20 + int(name[-1])}" for name in STORES}
    own = "/var/lib/restante/identity/etcd"
    ha.fleet.on(
        well,
        f"""export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=https://{addresses[well]}:2379 ETCDCTL_CACERT=/etc/restante/identity/root.pem \
          ETCDCTL_CERT={own}/cert.pem ETCDCTL_KEY={own}/key.pem
        etcdctl member remove $(etcdctl member list | grep {lost} | cut -d, -f1)
        etcdctl member add {lost} --peer-urls=https://{addresses[lost]}:2380""",
    )
    ha.fleet.deploy()
    ha.mended()


def test_status_says_who_leads_and_names_a_host_that_is_away(ha: HaFleet) -> None:
    well = ha.fleet.restante("status", "--lab")
    assert f"{ha.leader}" in well
    assert "leads" in well
    assert "has every commit" in well
    ha.machine("agent-1").link(False)
    try:
        said = ha.fleet.restante("status", "--lab", status=1)
    finally:
        ha.machine("agent-1").link(True)
    assert "! agent" in said
