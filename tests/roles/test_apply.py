"""One release to the next on a temporary root: fresh, again, drifted, pruned, refused, failed, interrupted, back."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fake_host import CODE, GROUP, OWNER, FakeUnit, Machine, nginx
from restante_host import apply, files
from restante_host.errors import FailedError, RefusedError
from restante_host.store import Store

CONF = "/etc/nginx/nginx.conf"
SITE = "/etc/nginx/conf.d/site.conf"


def links(machine: Machine) -> dict[str, str]:
    base = machine.host.path("/var/lib/restante")
    names = ("current", "previous", "pending")
    return {name: (base / name).readlink().name for name in names if (base / name).is_symlink()}


def releases(machine: Machine) -> set[str]:
    return {folder.name for folder in machine.host.path("/var/lib/restante/releases").iterdir()}


def test_a_fresh_host_gets_the_files_and_a_running_unit(machine: Machine) -> None:
    report = machine.apply(nginx("r1", files={"/opt/relay/run": "x"}))
    assert report.changes.needed
    assert machine.read(CONF) == "good"
    assert machine.read("/opt/relay/run") == "x"
    assert machine.host.path(CONF).stat().st_mode & 0o7777 == 0o644
    assert machine.system.units["nginx.service"] == FakeUnit("active", enabled=True)
    assert links(machine) == {"current": "r1"}
    assert [verdict.outcome for verdict in report.tests] == ["passed"]


def test_the_second_run_changes_nothing(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    report = machine.apply(nginx("r1"))
    assert not report.changes.needed
    assert machine.system.log == []


def test_a_file_edited_by_hand_is_put_right(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    machine.write(CONF, "hand")
    machine.host.path(CONF).chmod(0o600)
    report = machine.apply(nginx("r1"))
    assert report.changes.touched == {"nginx": CONF}
    assert machine.read(CONF) == "good"
    assert machine.system.log[-1] == "reload-or-restart nginx.service"


def test_a_mode_alone_is_a_change(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    machine.host.path(CONF).chmod(0o666)
    machine.apply(nginx("r1"))
    assert machine.host.path(CONF).stat().st_mode & 0o7777 == 0o644


def test_a_file_that_left_is_pruned_and_no_other(machine: Machine) -> None:
    machine.write("/etc/nginx/conf.d/theirs.conf", "theirs")
    machine.apply(nginx("r1", files={SITE: "site"}))
    report = machine.apply(nginx("r2"))
    assert not machine.has(SITE)
    assert machine.read("/etc/nginx/conf.d/theirs.conf") == "theirs"
    assert report.changes.touched == {"nginx": SITE}


def test_what_was_there_before_us_comes_back_when_its_path_leaves(machine: Machine) -> None:
    machine.write(SITE, "theirs")
    machine.apply(nginx("r1", files={SITE: "ours"}))
    machine.apply(nginx("r2", files={SITE: "ours, changed"}))
    machine.apply(nginx("r3"))
    assert machine.read(SITE) == "theirs"
    assert not machine.has(f"/var/lib/restante/originals{SITE}")


def test_current_and_previous_are_kept_and_no_more(machine: Machine) -> None:
    for name in ("r1", "r2", "r3"):
        machine.apply(nginx(name, text=name))
    assert links(machine) == {"current": "r3", "previous": "r2"}
    assert releases(machine) == {"r2", "r3"}
    assert machine.host.path("/var/lib/restante/releases").stat().st_mode & 0o077 == 0


def test_rollback_swaps_current_and_previous(machine: Machine) -> None:
    for name in ("r1", "r2"):
        machine.apply(nginx(name, text=name))
    apply.apply(machine.host, *apply.previous(machine.host), CODE)
    assert machine.read(CONF) == "r1"
    assert links(machine) == {"current": "r1", "previous": "r2"}
    apply.apply(machine.host, *apply.previous(machine.host), CODE)
    assert machine.read(CONF) == "r2"


def test_rollback_needs_a_release_before(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    with pytest.raises(RefusedError, match="keeps no earlier release"):
        apply.previous(machine.host)


def test_a_release_that_fails_its_test_changes_nothing(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    machine.system.log.clear()
    with pytest.raises(RefusedError, match=r"nothing was changed.*\n.*unknown directive broken") as refused:
        machine.apply(nginx("r2", text="broken", files={SITE: "new"}, users=["relay"]))
    assert refused.value.component == "nginx"
    assert machine.read(CONF) == "good"
    assert not machine.has(SITE)
    assert machine.system.users == set()
    assert links(machine) == {"current": "r1"}
    assert releases(machine) == {"r1"}
    assert not list(machine.host.path("/var/tmp").iterdir())


def test_the_test_sees_pruned_files_gone_and_users_made(machine: Machine) -> None:
    machine.apply(nginx("r1", files={SITE: "site"}))
    machine.apply(nginx("r2", users=["relay"]))
    inside = [line for line in machine.system.log if line.startswith("inside:")]
    assert inside[0].startswith("inside: useradd --system")
    assert machine.system.users == {"relay"}


def test_a_fresh_host_without_the_package_says_what_could_not_be_tested(machine: Machine) -> None:
    machine.system.installed.clear()
    release = nginx("r1", text="broken")
    report = apply.rehearse(machine.host, release.manifest, release.contents)
    assert [verdict.outcome for verdict in report.tests] == ["undecided"]
    assert "not installed yet: nginx" in report.tests[0].said
    assert not machine.has("/var/lib/restante")
    assert not machine.has(CONF)


def test_a_unit_that_does_not_start_puts_the_release_before_back(machine: Machine) -> None:
    machine.apply(nginx("r1", files={SITE: "one"}))
    machine.system.broken.add("relay.service")
    relay = {"name": "relay", "generation": "g", "units": ["relay.service"], "change": "restart"}
    unit = "/etc/systemd/system/relay.service"
    release = nginx("r2", text="two", files={unit: "[Service]"}, owners={unit: "relay"})
    release.components.append(relay)
    with pytest.raises(
        FailedError, match=r"relay: relay.service is failed[\s\S]*release before \(r1\) is back"
    ) as failed:
        machine.apply(release)
    assert failed.value.component == "relay"
    assert machine.read(CONF) == "good"
    assert machine.read(SITE) == "one"
    assert not machine.has(unit)
    assert links(machine) == {"current": "r1"}
    assert releases(machine) == {"r1"}
    assert "daemon-reload" in machine.system.log


def test_the_first_release_that_fails_leaves_what_was_there_before(machine: Machine) -> None:
    machine.write(CONF, "theirs")
    machine.system.units["nginx.service"] = FakeUnit("active", enabled=True)
    machine.system.refuses.add("127.0.0.1:443")
    with pytest.raises(
        FailedError, match=r"127.0.0.1:443 accepts no connection[\s\S]*before the first release is back"
    ):
        machine.apply(nginx("r1", component={"listens": ["127.0.0.1:443"]}))
    assert machine.read(CONF) == "theirs"
    assert machine.system.units["nginx.service"] == FakeUnit("active", enabled=True)
    assert machine.system.log[-1] == "reload-or-restart nginx.service"
    assert links(machine) == {}


def test_a_program_that_dies_again_and_again_is_no_healthy_one(machine: Machine) -> None:
    machine.system.crashing.add("nginx.service")
    with pytest.raises(FailedError, match=r"nginx.service does not stay up"):
        machine.apply(nginx("r1"))


def test_file_right_and_process_old_is_healed(machine: Machine) -> None:
    machine.system.generations["nginx"] = "g"
    release = nginx("r1", component={"running": ["generation-of", "nginx"]})
    machine.apply(release)
    assert not machine.apply(release).changes.needed
    machine.system.generations["nginx"] = "older"
    report = apply.compare(machine.host, release.manifest)
    assert report.changes.touched == {"nginx": "its files are right, its process is old"}
    with pytest.raises(FailedError, match="says generation older; g was expected"):
        machine.apply(release)
    assert "reload-or-restart nginx.service" in machine.system.log


def test_a_stopped_unit_is_started_without_a_reload(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    machine.system.units["nginx.service"] = FakeUnit("failed", enabled=False)
    report = machine.apply(nginx("r1"))
    assert report.changes.idle == {"nginx": "nginx.service is failed, not enabled"}
    done = [line for line in machine.system.log if not line.startswith("inside:")]
    assert done == ["reset-failed nginx.service", "enable nginx.service", "start nginx.service"]


def test_a_component_that_left_is_stopped_before_its_files_go(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = "/etc/systemd/system/relay.service"
    release = nginx("r1", files={unit: "[Service]"}, owners={unit: "relay"})
    release.components.append({"name": "relay", "generation": "g", "units": ["relay.service"], "change": "restart"})
    machine.apply(release)
    there: list[bool] = []
    whole = machine.system._systemctl
    monkeypatch.setattr(
        machine.system,
        "_systemctl",
        lambda verb, names: (verb == "disable" and there.append(machine.has(unit)), whole(verb, names))[1],
    )
    machine.apply(nginx("r2"))
    assert there == [True]
    assert not machine.has(unit)
    assert machine.system.units["relay.service"] == FakeUnit("inactive", enabled=False)
    assert not machine.apply(nginx("r2")).changes.needed


def test_commands_run_only_on_change(machine: Machine) -> None:
    component = {"commands": [["sysctl", "-q", "-p", CONF]], "units": [], "change": "none"}
    machine.apply(nginx("r1", component=component))
    assert f"sysctl -q -p {CONF}" in machine.system.log
    machine.apply(nginx("r1", component=component))
    assert machine.system.log == []


def test_a_power_cut_between_renames_is_completed_by_the_next_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write(SITE, "theirs")
    machine.apply(nginx("r1"))
    moving, swap, done = apply._move, files.swap, []

    def one_rename(beside: Path) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(beside)
        swap(beside)

    def cut(*arguments: object) -> None:
        monkeypatch.setattr("restante_host.files.swap", one_rename)
        moving(*arguments)

    monkeypatch.setattr("restante_host.apply._move", cut)
    with pytest.raises(KeyboardInterrupt):
        machine.apply(nginx("r2", text="two", files={SITE: "ours"}))
    monkeypatch.undo()
    assert links(machine)["pending"] == "r2"
    report = machine.apply(nginx("r2", text="two", files={SITE: "ours"}))
    assert "nginx" in report.changes.touched
    assert (machine.read(CONF), machine.read(SITE)) == ("two", "ours")
    machine.apply(nginx("r3"))
    assert machine.read(SITE) == "theirs"
    assert links(machine) == {"current": "r3", "previous": "r2"}


def test_an_interrupted_release_leaves_nothing_behind_when_another_follows(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.apply(nginx("r1"))
    with monkeypatch.context() as patched:
        patched.setattr("restante_host.apply.health.steady", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            machine.apply(nginx("r2", files={SITE: "only in r2"}))
    machine.apply(nginx("r3", text="three"))
    assert not machine.has(SITE)
    assert releases(machine) == {"r1", "r3"}


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_while_staging_leaves_the_release_before_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.apply(nginx("r1"))
    monkeypatch.setattr("restante_host.store._write", full)
    with pytest.raises(RefusedError, match=r"No space left.*nothing was changed"):
        machine.apply(nginx("r2", text="two"))
    assert machine.read(CONF) == "good"
    assert (links(machine), releases(machine)) == ({"current": "r1"}, {"r1"})


def test_a_full_disk_while_writing_beside_leaves_no_trace(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.apply(nginx("r1"))
    whole = files.write_beside

    def second_fails(host, item, data, *, durable=True):
        if durable and item.path == SITE:
            full()
        return whole(host, item, data, durable=durable)

    monkeypatch.setattr("restante_host.files.write_beside", second_fails)
    with pytest.raises(RefusedError, match="could not be written"):
        machine.apply(nginx("r2", text="two", files={SITE: "site"}))
    assert machine.read(CONF) == "good"
    assert releases(machine) == {"r1"}
    assert not list(machine.host.path("/etc/nginx").rglob("*restante-new"))


def test_a_secret_that_changed_is_another_release_and_is_only_named(machine: Machine) -> None:
    key = "/etc/restante/tls/privkey.pem"
    machine.apply(nginx("r1", secrets={key: "first key"}))
    assert machine.host.path(key).stat().st_mode & 0o7777 == 0o600
    release = nginx("r1", secrets={key: "second key"})
    report = machine.apply(release)
    assert machine.read(key) == "second key"
    assert report.diff == [{"prepared": f"{key}: secret changed\n"}]
    assert len(releases(machine)) == 2
    apply.apply(machine.host, *apply.previous(machine.host), CODE)
    assert machine.read(key) == "first key"


def test_the_diff_shows_text_rights_and_what_is_no_text(machine: Machine) -> None:
    machine.apply(nginx("r1", files={SITE: "old"}))
    release = nginx("r2", text="two", files={"/etc/restante/blob": "\0"})
    shown = apply.rehearse(machine.host, release.manifest, release.contents).diff
    assert shown[0]["before"] == "good"
    assert shown[0]["after_header"] == f"{CONF} (0644 {OWNER}:{GROUP})"
    assert shown[1]["prepared"].startswith("/etc/restante/blob: changed, not shown")
    assert (shown[2]["before"], shown[2]["after_header"]) == ("old", f"{SITE} (absent)")


CLUSTER = "/usr/local/lib/restante/cluster"
MEMBER = {
    "files": {CLUSTER: "program"},
    "component": {"change": "restart", "before": [CLUSTER, "spare"], "settled": [CLUSTER, "settle"]},
}


def test_a_member_hands_over_before_it_is_changed_and_is_waited_for_after(machine: Machine) -> None:
    machine.apply(nginx("r1", **MEMBER))
    assert "cluster spare" not in machine.system.log, "nobody depends on a host of its first release"
    machine.apply(nginx("r2", "new", **MEMBER))
    asked = [line for line in machine.system.log if line.startswith(("cluster", "restart"))]
    assert asked == ["cluster spare", "restart nginx.service", "cluster settle"]
    machine.apply(nginx("r2", "new", **MEMBER))
    assert machine.system.log == []


def test_a_member_that_the_others_need_is_refused_before_anything_changes(machine: Machine) -> None:
    machine.apply(nginx("r1", **MEMBER))
    machine.system.cluster["spare"] = "edge-1 cannot be spared: no other member follows"
    with pytest.raises(RefusedError, match=r"cannot be spared: .*; nothing was changed on this host"):
        machine.apply(nginx("r2", "new", **MEMBER))
    assert machine.read(CONF) == "good"
    assert links(machine) == {"current": "r1"}


def test_a_member_that_does_not_settle_gets_the_release_before_back(machine: Machine) -> None:
    machine.apply(nginx("r1", **MEMBER))
    machine.system.cluster["settle"] = "no member leads"
    with pytest.raises(FailedError, match="no member leads"):
        machine.apply(nginx("r2", "new", **MEMBER))
    assert machine.read(CONF) == "good"


def test_a_rollback_is_compared_with_what_serves_too(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    machine.apply(nginx("r2", "second"))
    release, contents = apply.previous(machine.host)
    compared = apply.rehearse(machine.host, release, contents).as_json()["serving"]
    apply.apply(machine.host, release, contents, CODE, serving=compared)
    assert machine.read(CONF) == "good"


def test_a_host_that_another_deploy_has_changed_since_it_was_compared_is_left_as_it_is(machine: Machine) -> None:
    machine.apply(nginx("r1"))
    ours = nginx("ours", "ours")
    compared = apply.compare(machine.host, ours.manifest).as_json()["serving"]
    machine.apply(nginx("theirs", "theirs"))
    with pytest.raises(RefusedError, match="another deploy has changed this host since this one compared it"):
        apply.apply(machine.host, ours.manifest, ours.contents, CODE, serving=compared)
    assert machine.read(CONF) == "theirs"
    now = apply.compare(machine.host, ours.manifest).as_json()["serving"]
    apply.apply(machine.host, ours.manifest, ours.contents, CODE, serving=now)
    assert machine.read(CONF) == "ours"


def test_another_deploy_at_work_is_refused(machine: Machine) -> None:
    with Store(machine.host).locked(), pytest.raises(RefusedError, match="another deploy is at work"):
        machine.apply(nginx("r1"))


def test_another_distribution_is_refused_with_both_names(machine: Machine) -> None:
    with pytest.raises(RefusedError, match=r"runs debian-13, .* for debian-12"):
        machine.apply(nginx("r1", os="debian-12"))


def firewall(name: str, text: str) -> object:
    release = nginx(name)
    release.components.insert(0, {"name": "nftables", "generation": name, "units": ["restante-firewall.service"]})
    release.files["/etc/restante/firewall.nft"] = text
    release.owners = {"/etc/restante/firewall.nft": "nftables", CONF: "nginx"}
    return release


def test_a_firewall_serves_only_when_confirmed(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    assert links(machine) == {"pending": "r1"}
    armed = [line for line in machine.system.log if "systemd-run" in line]
    assert armed[0].endswith("|| nft delete table inet restante")
    apply.confirm(machine.host)
    assert machine.system.log[-1] == "stop restante-deadman.timer"
    assert links(machine) == {"current": "r1"}


def test_a_confirmation_that_comes_too_late_is_refused(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    machine.system.units["restante-deadman.timer"] = FakeUnit("active", sub="running")
    with pytest.raises(RefusedError, match="came too late"):
        apply.confirm(machine.host)
    assert links(machine) == {"pending": "r1"}


def test_a_firewall_that_locks_out_goes_back(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    apply.confirm(machine.host)
    machine.apply(firewall("r2", "two"))
    assert "release before (r1)" in apply.back(machine.host)
    assert machine.read("/etc/restante/firewall.nft") == "one"
    assert links(machine) == {"current": "r1"}


def test_a_release_without_a_firewall_change_arms_nothing(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    apply.confirm(machine.host)
    assert not machine.apply(nginx("r2", text="two")).confirm


def test_a_file_that_was_there_and_equals_ours_is_not_lost_when_its_path_leaves(machine: Machine) -> None:
    machine.write("/etc/x.conf", "same")
    first = nginx("r1")
    first.files["/etc/x.conf"] = "same"
    machine.host.path("/etc/x.conf").chmod(0o644)
    machine.apply(first)
    machine.apply(nginx("r2"))
    assert machine.read("/etc/x.conf") == "same"


def test_it_is_not_lost_either_when_ours_changed_in_between(machine: Machine) -> None:
    machine.write("/etc/x.conf", "same")
    machine.host.path("/etc/x.conf").chmod(0o644)
    for name, text in (("r1", "same"), ("r2", "ours")):
        release = nginx(name)
        release.files["/etc/x.conf"] = text
        machine.apply(release)
    machine.apply(nginx("r3"))
    assert machine.read("/etc/x.conf") == "same"


def test_nor_when_the_first_release_fails(machine: Machine) -> None:
    machine.write("/etc/x.conf", "same")
    machine.host.path("/etc/x.conf").chmod(0o644)
    release = nginx("r1")
    release.files["/etc/x.conf"] = "same"
    machine.system.broken.add("nginx.service")
    with pytest.raises(FailedError):
        machine.apply(release)
    assert machine.read("/etc/x.conf") == "same"


def loaded(machine: Machine) -> bool:
    """Whether a start of the firewall's unit is the last that was done about our table."""
    about = [line for line in machine.system.log if "restante-firewall" in line or line.startswith("nft delete")]
    return about[-1].startswith(("start", "restart", "reload"))


def test_a_firewall_that_is_started_again_must_be_confirmed_too(machine: Machine) -> None:
    """An operator who was locked out stops it at the console; the next deploy must not close the door unseen."""
    machine.apply(firewall("r1", "one"))
    apply.confirm(machine.host)
    machine.system.units["restante-firewall.service"] = FakeUnit("inactive")
    assert machine.apply(firewall("r1", "one")).confirm
    started = machine.system.log.index("start restante-firewall.service")
    assert any("systemd-run" in line for line in machine.system.log[:started])


def test_the_release_that_served_has_no_other_firewall_and_the_host_says_that_it_is_off(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    apply.confirm(machine.host)
    machine.write("/etc/restante/firewall.nft", "edited")
    machine.system.broken.add("nginx.service")
    machine.system.units["nginx.service"].active = "inactive"
    with pytest.raises(FailedError, match="THE FIREWALL IS OFF"):
        machine.apply(firewall("r1", "one"))
    assert not machine.system.units["restante-firewall.service"].enabled, "a reboot must not close the door either"
    assert links(machine) == {"current": "r1"}
    machine.system.broken.clear()
    assert machine.apply(firewall("r1", "one")).confirm


def test_the_firewall_before_is_loaded_again_when_another_component_fails(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    apply.confirm(machine.host)
    machine.system.broken.add("nginx.service")
    second = firewall("r2", "two")
    second.files[CONF] = "other"
    with pytest.raises(FailedError):
        machine.apply(second)
    assert machine.read("/etc/restante/firewall.nft") == "one"
    assert machine.system.units["restante-firewall.service"].active == "active"
    assert loaded(machine)


def test_a_failure_before_the_firewall_leaves_the_one_that_serves(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    apply.confirm(machine.host)
    second = firewall("r2", "two")
    second.components.insert(0, {"name": "alert", "generation": "a", "units": ["beat.timer"]})
    second.files["/etc/restante/alert.json"] = "{}"
    second.owners["/etc/restante/alert.json"] = "alert"
    machine.system.broken.add("beat.timer")
    with pytest.raises(FailedError):
        machine.apply(second)
    assert not [line for line in machine.system.log if line.startswith("nft delete")]


def test_the_switch_waits_for_a_connection_only_once_all_is_up(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    waits = [word for line in machine.system.log for word in line.split() if word.startswith("--on-active=")]
    assert waits == ["--on-active=900", "--on-active=60"]


def test_nobody_but_root_can_hold_the_lock(machine: Machine) -> None:
    lock = machine.host.path("/var/lib/restante/lock")
    lock.parent.mkdir(parents=True)
    lock.touch(0o644)
    machine.apply(nginx("r1"))
    assert lock.stat().st_mode & 0o777 == 0o600


def test_the_end_of_a_deploy_waits_for_the_lock_and_not_for_ever(machine: Machine) -> None:
    machine.apply(firewall("r1", "one"))
    with Store(machine.host).locked(), pytest.raises(RefusedError, match="another deploy is at work"):
        apply.confirm(machine.host)
    assert machine.system.clock >= 300
