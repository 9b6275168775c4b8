"""A store that is destroyed comes back: SQLite as it was at the copy, PostgreSQL with all that its log holds. Every epoch changes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mail_host import STATE, Load, PostHost
from test_examples import Fleet, until

pytestmark = pytest.mark.lab
SERVER = "restante-server.service"
ENGINE = "postgresql@15-main.service"
DATA = "/var/lib/postgresql/15/main"
FOLDER = "/var/lib/restante/backups"


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fleet]]:
    made = {name: Fleet(tmp_path_factory.mktemp(name), name) for name in ("single-host", "post-and-store")}

    def deploy(fleet: Fleet) -> None:
        fleet.restante("up")
        fleet.deploy()

    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(deploy, made.values()))
        yield made
    finally:
        for each in made.values():
            each.restante("down")


@pytest.fixture(scope="module")
def solo(fleets: dict[str, Fleet]) -> PostHost:
    return PostHost(fleets["single-host"], "solo", "192.0.2.31")


@pytest.fixture(scope="module")
def pair(fleets: dict[str, Fleet]) -> tuple[PostHost, PostHost]:
    """A post host and its store's."""
    fleet = fleets["post-and-store"]
    return PostHost(fleet, "post-1", "198.51.100.11"), PostHost(fleet, "store-1", "198.51.100.21")


def send(host: PostHost, first: int, count: int) -> None:
    assert Load(host, first, count).end() == list(range(first, first + count))
    host.emptied()


def subjects(host: PostHost) -> set[int]:
    return {int(message["subject"].split()[1]) for message in host.everything()}


def test_a_copy_of_sqlite_is_put_back_and_the_epoch_is_another(solo: PostHost) -> None:
    solo.ready()
    send(solo, 0, 5)
    before = solo.epoch()
    assert "verified" in solo.sh("restante backup now")
    send(solo, 5, 2)
    solo.sh(f"systemctl stop {SERVER} && rm {STATE}/store.sqlite*")
    assert "5 messages" in solo.sh("restante restore")
    solo.sh(f"systemctl start {SERVER}")
    solo.ready()
    assert solo.epoch() != before
    assert subjects(solo) == set(range(5))


def test_a_restore_below_a_running_server_is_refused(solo: PostHost) -> None:
    done = solo.machine.exec(["restante", "restore"])
    assert done.returncode == 2
    assert "systemctl stop restante-server" in done.stderr


def test_a_backup_that_fails_is_told_and_a_damaged_one_is_found(solo: PostHost) -> None:
    solo.sh(f"mv {STATE}/store.sqlite {STATE}/away")
    assert not solo.tries("restante backup now")
    solo.sh(f"mv {STATE}/away {STATE}/store.sqlite")
    until(lambda: "restante-backup.service stopped" in solo.sh("journalctl -o cat -u restante-backup"), "the alert")
    assert "verified" in solo.sh("restante backup now")
    newest = solo.sh(f"ls {FOLDER}/*.sqlite | tail -1")
    assert "is whole" in solo.sh(f"restante backup verify {newest}")
    solo.sh(f"printf damage | dd of={newest} bs=1 seek=5000 conv=notrunc")
    done = solo.machine.exec(["restante", "backup", "verify", newest])
    assert (done.returncode, "is not what was written" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("disturb", "mend"),
    [
        (f"sed -i 's/made_at\": /&-/' {FOLDER}/*.json", f"sed -i 's/made_at\": -/made_at\": /' {FOLDER}/*.json"),
        ("systemctl stop restante-backup.timer", "systemctl start restante-backup.timer"),
    ],
    ids=["old", "off"],
)
def test_verify_names_a_backup_that_is_old_and_a_timer_that_is_off(solo: PostHost, disturb: str, mend: str) -> None:
    solo.sh(disturb)
    assert solo.fleet.failed("--only", "backup-fresh") == {("backup-fresh", "solo")}
    solo.sh(mend)
    assert solo.fleet.failed("--only", "backup-fresh") == set()


def test_postgresql_comes_back_with_what_only_its_log_held(pair: tuple[PostHost, PostHost]) -> None:
    post, store = pair
    post.ready()
    send(post, 0, 5)
    before = post.epoch()
    store.sh("restante backup now")
    send(post, 5, 40)
    store.sh(f"systemctl kill -s KILL {ENGINE}; systemctl stop {ENGINE}; rm -r {DATA}/base")
    assert "holds 45 messages" in store.sh("restante restore")
    store.sh(f"systemctl start {ENGINE}")
    post.ready()
    assert post.epoch() != before
    assert subjects(post) == set(range(45))


def test_a_restored_cluster_has_a_line_of_log_and_a_base_backup_of_its_own(pair: tuple[PostHost, PostHost]) -> None:
    _, store = pair
    until(lambda: '"line": 2' in store.sh(f"cat {FOLDER}/*.json"), "the base backup of the new line")
    assert store.sh(f"ls {FOLDER}/wal").split() == ["0001", "0002"]
    assert "is whole" in store.sh("restante backup verify")
    assert store.fleet.failed("--limit", "store-1") == set()


def test_postgresql_is_put_back_to_a_moment(pair: tuple[PostHost, PostHost]) -> None:
    post, store = pair
    send(post, 100, 3)
    moment = store.sh("date +%FT%T.%N%z")
    send(post, 103, 3)
    store.sh(f"systemctl stop {ENGINE}")
    assert "from an earlier restore" in store.machine.exec(["restante", "restore"]).stderr
    store.sh(f"rm -r {DATA}.before-restore")
    assert "holds 48 messages" in store.sh(f"restante restore --to {moment}")
    store.sh(f"systemctl start {ENGINE}")
    post.ready()
    assert subjects(post) == {100, 101, 102}


def test_the_backups_user_can_read_no_mail_by_sql(pair: tuple[PostHost, PostHost]) -> None:
    _, store = pair
    done = store.machine.exec(
        ["runuser", "-u", "restante-backup", "--", "psql", "-h", "/var/run/postgresql", "restante", "-c", "SELECT 1"]
    )
    assert done.returncode != 0
    assert "no pg_hba.conf entry" in done.stderr
