"""Causes 10, 11 and 15: the store is away, full, or lost. The other stacks have none, so there is nobody to compare with."""

from __future__ import annotations

from functools import partial

from restante.drills import office
from restante.drills.lab_stage import LabStage
from restante.drills.scenario import KIT, Scenario
from restante.drills.scenarios.shared import away, warm_up

DATA = "/var/lib/postgresql/17/main"
STATE = "/var/lib/restante/post"
SERVER = "restante-server.service"
FLOOR = 16 << 20
STORE_HOSTS = ("mail", "store", "agent")


def direct(_: LabStage) -> None:
    """No router is in these fleets."""


def small_disk(stage: LabStage) -> None:
    """The store on 48 MB of its own, of which 16 must stay free. systemd watched the folder that is now below it."""
    stage.sh("mail", f"systemctl stop {SERVER} && cp -a {STATE} /run/kept && mount -t tmpfs -o size=48m tmpfs {STATE}")
    floor = f"sed -i 's/^free_space_floor = .*/free_space_floor = {FLOOR}/' /etc/restante/restante.toml"
    stage.sh("mail", f"cp -a /run/kept/. {STATE} && {floor} && systemctl restart {SERVER} restante-flush.path")


def full(stage: LabStage) -> None:
    warm_up(stage)
    fill = partial(
        stage.sh,
        "mail",
        f"fallocate -l $(( $(df --output=avail -B1 {STATE} | tail -1) - {FLOOR // 2} )) {STATE}/filler",
    )
    with stage.mails(2):
        stage.sleep(3, 10)
        with stage.fault("the store's disk is full", fill, partial(stage.sh, "mail", f"rm {STATE}/filler")):
            stage.sleep(15, 120)
        stage.sleep(3, 10)


def restored(stage: LabStage) -> None:
    """A backup is made, mail goes on, the data are destroyed, and what the backups hold is put back as docs/how-to says."""
    warm_up(stage)
    stage.sh("store", "restante backup now")
    with stage.mails(2):
        stage.sleep(5, 30)
        stage.strike("the store's data are destroyed")
        stage.sh("store", f"systemctl kill -s KILL {stage.engine}; systemctl stop {stage.engine}; rm -rf {DATA}")
        stage.sleep(3, 10)
        stage.sh("store", "restante restore", 200)
        stage.sh("store", f"systemctl start {stage.engine}", 120)
        stage.heal("the store's data are destroyed")
        stage.sleep(5, 30)
    office.ready(stage.host("mail"))


def restored_copy(stage: LabStage) -> None:
    """What a copy does not hold is gone with the disk: it must be named. Mail that comes meanwhile waits in Postfix."""
    warm_up(stage)
    stage.sh("mail", "restante backup now")
    with stage.mails(2):
        stage.sleep(4, 30)
        stage.sh("agent", "systemctl stop drill")
        stage.sleep(3, 10)
        stage.strike("the disk with the store is destroyed")
        stage.sh(
            "mail",
            f"systemctl kill -s KILL {SERVER}; systemctl stop {SERVER} 'restante-*.socket'; rm {STATE}/store.sqlite*",
        )
        stage.sleep(3, 10)
        stage.sh("mail", f"restante restore && systemctl start {SERVER}", 200)
        stage.heal("the disk with the store is destroyed")
        stage.sh("agent", "systemctl start drill")
        stage.sleep(5, 30)
    office.ready(stage.host("mail"))
    stage.not_awaited |= office.named(stage.host("mail"), stage.inbox)


SCENARIOS = (
    Scenario(
        "store-away", 10, "PostgreSQL is stopped for longer than Postfix's first tries.",
        away, direct, fleet="postgresql", machines=STORE_HOSTS, sides=KIT,
    ),
    Scenario("disk-full", 11, "The store's disk is full, and has room again.", full, small_disk, machines=("mail", "agent"), sides=KIT),
    Scenario(
        "copy-restored", 15, "SQLite's disk is destroyed, and its last copy put back: what came after the copy is gone, and named.",
        restored_copy, direct, machines=("mail", "agent"), sides=KIT, restores=True,
    ),
    Scenario(
        "store-restored", 15, "PostgreSQL's data are destroyed, and restored with all that its log holds.",
        restored, direct, fleet="postgresql", machines=STORE_HOSTS, sides=KIT, restores=True,
    ),
)  # fmt: skip
