"""The parts of the lab that need no root."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from restante.errors import FoundError, InputError
from restante.lab import cgroup, furnish, images, network, probe, runner, sources, ssh
from restante.lab.lab import Lab
from restante.lab.layout import Layout
from restante.lab.machine import Image, Machine, Order, check_together, lab_directory
from restante.lab.system import hold, holder, run

EDGE = Machine("edge-1", "bookworm", ("192.0.2.11", "2001:db8::11"))
APP = Machine("app-1", "trixie", ("198.51.100.11",), ssh_user="admin", ssh_port=2222)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"name": "../etc"}, "'../etc' is no host name"),
        ({"suite": "sid"}, "edge-1 wants the suite 'sid'; the lab has bookworm and trixie"),
        ({"addresses": ()}, "edge-1 has no address"),
        ({"addresses": ("192.0.2.300",)}, "which is neither IPv4 nor IPv6"),
        ({"ssh_user": "a b"}, "'a b' is no user name"),
        ({"sysctls": ("net;reboot",)}, "'net;reboot' is no sysctl"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(changed: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        Machine(**{"name": "edge-1", "suite": "bookworm", "addresses": ("192.0.2.11",), **changed})  # type: ignore[arg-type]


def test_one_address_belongs_to_one_machine() -> None:
    with pytest.raises(InputError, match="edge-1 and twin both have 2001:db8::11"):
        check_together((EDGE, APP, Machine("twin", "trixie", ("192.0.2.12", "2001:db8::11"))))


def test_the_controllers_address_is_refused_before_anything_is_tried(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"edge-1 has the address 203\.0\.113\.254, which the lab keeps for itself"):
        Lab(tmp_path / "lab").up([Machine("edge-1", "trixie", (network.CONTROLLER[0],))], {})


def test_differences_are_told_in_words() -> None:
    moved = Machine("edge-1", "trixie", EDGE.addresses, sysctls=())
    assert EDGE.differences(moved) == f"suite bookworm, not trixie; sysctls {' '.join(EDGE.sysctls)}, not none"
    assert EDGE.differences(EDGE) == ""


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    order = Order(APP, Image((Path("/layer"), Path("/base")), Path("/archive")))
    order.write(tmp_path / "machine.json")
    assert Order.read(tmp_path / "machine.json") == order


def test_a_lab_is_named_after_its_spec_and_the_place_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTANTE_LAB_DIR", "/labs")
    monkeypatch.chdir(tmp_path)
    here, there = lab_directory(Path("Two Tier.yml")), lab_directory(Path("/other/Two Tier.yml"))
    assert here.parent == Path("/labs")
    assert here.name.startswith("two-tier-")
    assert here != there
    assert here == lab_directory(tmp_path / "Two Tier.yml")


def test_two_labs_of_one_name_have_groups_of_their_own() -> None:
    assert Layout(Path("/a/lab")).seat("edge-1").cgroup != Layout(Path("/b/lab")).seat("edge-1").cgroup


def test_interface_names_fit_whatever_the_host_is_called() -> None:
    seat = Layout(Path("/lab")).seat("a" * 63)
    assert len(seat.port) <= 15
    assert seat.mac != Layout(Path("/lab")).seat("a" * 62).mac
    assert int(seat.mac[:2], 16) & 3 == 2  # locally administered, for one station (IEEE 802)


def test_a_lab_that_is_not_up_says_how_to_start_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    for ask in (lab.prefix, lambda: lab.host("edge-1")):
        with pytest.raises(InputError, match="lab lab is not up; start it with: restante lab up SPEC"):
            ask()
    assert lab.status() == []
    lab.down()


@pytest.mark.parametrize(
    ("ask", "host", "user", "port"),
    [
        ("edge-1", "192.0.2.11", "root", "22"),
        ("2001:db8::11", "2001:db8::11", "root", "22"),
        ("app-1", "198.51.100.11", "admin", "2222"),
        ("198.51.100.11", "198.51.100.11", "admin", "2222"),
    ],
)
def test_ssh_itself_reads_the_configuration_as_meant(tmp_path: Path, ask: str, host: str, user: str, port: str) -> None:
    (tmp_path / "config").write_text(ssh.config([EDGE, APP], tmp_path))
    read = dict(line.split(" ", 1) for line in run(["ssh", "-G", "-F", str(tmp_path / "config"), ask]).splitlines())
    assert (read["hostname"], read["user"], read["port"]) == (host, user, port)
    assert read["hostkeyalias"] in {"edge-1", "app-1"}
    assert read["stricthostkeychecking"] == "true"
    # ssh makes the socket under this name and 17 characters more, and sun_path holds 108 with its end (unix(7)).
    assert len(read["controlpath"]) + 17 < 108


def test_known_hosts_has_names_and_no_comments() -> None:
    assert ssh.known_hosts({"edge-1": "ssh-ed25519 AAAA restante lab\n"}) == "edge-1 ssh-ed25519 AAAA\n"


def test_the_hosts_file_names_every_address() -> None:
    text = network.hosts_file([(machine.name, machine.addresses) for machine in (EDGE, APP)])
    assert text.splitlines()[2:] == ["192.0.2.11 edge-1", "2001:db8::11 edge-1", "198.51.100.11 app-1"]


def test_what_makes_a_copy_of_an_image_one_machine(tmp_path: Path) -> None:
    made = furnish.files(APP, "secret", "public", "hosts")
    furnish.write(tmp_path, made)
    assert (tmp_path / "etc/hostname").read_text() == "app-1\n"
    assert "Port 2222\n" in (tmp_path / "etc/ssh/sshd_config.d/lab.conf").read_text()
    assert (tmp_path / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "etc/sudoers.d/lab").stat().st_mode & 0o777 == 0o440
    assert "/etc/sudoers.d/lab" not in furnish.files(EDGE, "", "", "")


def test_a_machine_without_sysctls_gets_no_script() -> None:
    plain = Machine("edge-1", "bookworm", ("192.0.2.11",), sysctls=())
    assert not [path for path in furnish.files(plain, "", "", "") if "sysctl" in path]


def test_the_sysctl_script_is_a_shell_script() -> None:
    made = furnish.files(EDGE, "", "", "")
    script = next(file.text for path, file in made.items() if path.endswith("/sysctls"))
    assert "net.core.rmem_max" in script
    run(["sh", "-n"], stdin=script)


def test_the_command_that_is_a_host() -> None:
    seat = Layout(Path("/lab")).seat("edge-1")
    argv = runner.nspawn(seat, Order(EDGE, Image((Path("/base"),), Path("/archive"))))
    assert argv[0] == "systemd-nspawn"
    assert {"--boot", "--machine=edge-1", "--network-namespace-path=/run/netns/edge-1"} < set(argv)
    assert "--bind-ro=/archive:/srv/repo" in argv


TARGETS = [
    "https://one.example/debian/|bookworm|main|Debian",
    "https://one.example/debian/|bookworm|contrib|Debian",
    "https://one.example/debian/|bookworm-updates|main|$(ORIGIN)",
    "https://one.example/security|bookworm-security|main|Debian",
    "https://one.example/debian/|bookworm-backports|main|Debian",
    "https://tools.example/|bookworm|main|Somebody",
]


def test_the_machines_archives_are_taken_for_another_suite() -> None:
    signed = f"deb [signed-by={sources.KEYRING}]"
    assert sources.translated(TARGETS, "bookworm", "trixie") == [
        f"{signed} https://one.example/debian/ trixie main",
        f"{signed} https://one.example/debian/ trixie-updates main",
        f"{signed} https://one.example/security trixie-security main",
    ]


def test_a_machine_without_debians_archives_has_none_to_offer() -> None:
    assert sources.translated(["https://two.example/ubuntu|noble|main|Ubuntu"], "bookworm", "trixie") == []


def test_a_build_that_breaks_off_is_not_taken_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTANTE_LAB_CACHE", str(tmp_path))
    told: list[str] = []

    def broken(into: Path) -> None:
        (into / "half").touch()
        raise FoundError("the archive does not answer")

    with pytest.raises(FoundError, match="does not answer"):
        images._made("base-x", "x base", broken, told.append)
    assert not (tmp_path / "base-x").exists()
    made = images._made("base-x", "x base", lambda into: (into / "whole").touch(), told.append)
    assert [path.name for path in made.iterdir()] == ["whole"]
    told.clear()
    assert images._made("base-x", "x base", broken, told.append) == made
    assert told == []


def test_a_settled_base_names_no_archive_and_has_no_keys(tmp_path: Path) -> None:
    for path in ("etc/ssh/ssh_host_rsa_key", "etc/hostname", "etc/apt/sources.list", "etc/apt/sources.list.d/a.list",
                 "var/lib/apt/lists/x_Packages", "usr/bin/true", "etc/systemd/system/x.service", "etc/machine-id"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("something")
    images.settle(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()}
    assert left == {"usr/bin/true", "etc/systemd/system/x.service", "etc/machine-id", "etc/.updated", "var/.updated"}
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert (tmp_path / "etc/systemd/system/fstrim.timer").readlink() == Path("/dev/null")


@pytest.mark.parametrize(
    ("mounted", "found"),
    [
        (["cgroup.controllers"], ["."]),
        (["unified/cgroup.controllers", "systemd/cgroup.procs", "memory/cgroup.procs", "cpu/cgroup.procs"],
         ["unified", "systemd", "memory"]),
        (["memory/cgroup.procs"], ["memory"]),
    ],
    ids=["pure v2", "hybrid", "v1 alone"],
)  # fmt: skip
def test_hierarchies_are_those_that_are_mounted(tmp_path: Path, mounted: list[str], found: list[str]) -> None:
    for path in mounted:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert cgroup.hierarchies(tmp_path) == [tmp_path / name for name in found]
    assert (cgroup.unified(tmp_path) is None) == (found == ["memory"])


def test_a_lock_tells_who_holds_it_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    code = "import sys; from pathlib import Path; from restante.lab.system import hold\n"
    code += "hold(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert holder(path) == other.pid
        with pytest.raises(BlockingIOError):
            hold(path)
        other.kill()
    assert holder(path) is None


def test_a_tool_that_fails_says_so_in_its_own_words() -> None:
    with pytest.raises(FoundError, match=r"`sh -c echo no >&2; exit 4` ended with 4:\nno"):
        run(["sh", "-c", "echo no >&2; exit 4"])
    with pytest.raises(FoundError, match="the command 'no-such-tool' is not installed"):
        run(["no-such-tool"])
    with pytest.raises(FoundError, match="was still running after 0 s"):
        run(["sleep", "5"], timeout=0.1)


def test_without_root_nothing_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match="needs root; run this with sudo"):
        probe.probe(tmp_path / "labs")
    assert not (tmp_path / "labs").exists()


def test_missing_commands_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as refused:
        probe.probe(tmp_path)
    assert "systemd-nspawn" in str(refused.value)
    assert "apt-get install apt coreutils dpkg-dev iproute2 mmdebstrap openssh-client systemd-container" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ([*probe._NAMESPACES, "true"], "mount, network or pid namespaces are refused (not permitted)"),
        ("bridge", "makes no bridge or no veth (not permitted)"),
        ("overlay", "takes no overlay (not permitted); set RESTANTE_LAB_DIR"),
    ],
)
def test_each_lack_of_the_kernel_has_its_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: object, sentence: str
) -> None:
    def fails(argv: list[str]) -> str:
        return "not permitted" if argv == refused or any(str(refused) in word for word in argv) else ""

    monkeypatch.setattr(probe, "_fails", fails)
    assert any(sentence in lack for lack in probe._kernel(tmp_path))


def test_a_lab_is_laid_over_one_that_rests_and_over_no_other(tmp_path: Path) -> None:
    below = Lab(tmp_path / "below")
    below.directory.mkdir()
    imports = "import sys, time; from pathlib import Path; from restante.lab.system import hold"
    holding = f"{imports}; hold(Path(sys.argv[1])); print(1, flush=True); time.sleep(60)"
    running = subprocess.Popen(
        [sys.executable, "-c", holding, str(Layout(below.directory).lock)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout
        assert running.stdout.readline() == "1\n"
        with pytest.raises(InputError, match="lab below runs; only over the disks of one that rests"):
            Lab(tmp_path / "above").lay_over(below, ["edge-1"], {})
    finally:
        running.kill()
        running.wait()


def test_a_copy_has_the_disk_of_the_first_below_it() -> None:
    order = Order(EDGE, Image((Path("/layer"), Path("/base")), Path("/archive")))
    assert order.over(Path("/disk")).image.layers == (Path("/disk"), Path("/layer"), Path("/base"))
