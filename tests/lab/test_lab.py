"""The lab itself, on real hosts of both Debian releases."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from restante.errors import FoundError, InputError
from restante.lab import cgroup, images
from restante.lab.lab import Lab
from restante.lab.layout import Layout
from restante.lab.machine import Machine
from restante.lab.system import await_true

pytestmark = pytest.mark.lab

MACHINES = (
    Machine("book", "bookworm", ("192.0.2.51", "2001:db8::51")),
    Machine("trix", "trixie", ("198.51.100.51", "2001:db8:7::51"), ssh_user="operator", ssh_port=2222),
)
PACKAGES = {"bookworm": ["nginx"], "trixie": ["nginx"]}
HOSTS = [machine.name for machine in MACHINES]
ALONE = Machine("alone", "bookworm", ("192.0.2.77", "2001:db8::77"))
# An unprivileged look at one address family: connects to the ssh server and prints what it says first.
_GREET = """
import socket, sys
name, port, family = sys.argv[1], int(sys.argv[2]), getattr(socket, sys.argv[3])
address = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM)[0][4]
print(socket.create_connection(address[:2], 3).recv(4).decode())
"""

# Boots a bound lab and then waits to be killed.
_CALLER = """
import sys
from pathlib import Path
from restante.lab.lab import Lab
from restante.lab.machine import Machine
lab = Lab(Path(sys.argv[1]))
lab.up([Machine("alone", "bookworm", ("192.0.2.77",))], {"bookworm": ["nginx"]}, bound=True)
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One host of each Debian release, of different address ranges, nginx within reach."""
    made = Lab(tmp_path_factory.mktemp("lab") / "lab")
    try:
        made.up(MACHINES, PACKAGES, bound=True)
        yield made
    finally:
        made.down()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Lab]:
    """A lab of its own for a test that takes it down."""
    made = Lab(tmp_path / "lonely")
    yield made
    made.down()


def said(lab: Lab, host: str, *argv: str) -> str:
    done = lab.host(host).exec(argv, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ssh(lab: Lab, to: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [*lab.prefix(), "ssh", "-F", str(lab.ssh_config), to, *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def processes(word: str) -> list[bytes]:
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = line.read_bytes()
        except OSError:
            continue
        if word.encode() in command:
            found.append(command)
    return found


@pytest.mark.parametrize("host", HOSTS)
def test_systemd_runs_and_no_unit_failed(lab: Lab, host: str) -> None:
    assert said(lab, host, "systemctl", "is-system-running", "--wait") == "running"
    assert lab.host(host).settle() == []


@pytest.mark.parametrize("machine", MACHINES, ids=HOSTS)
def test_a_host_is_the_release_it_was_asked_for(lab: Lab, machine: Machine) -> None:
    assert f"VERSION_CODENAME={machine.suite}" in said(lab, machine.name, "cat", "/etc/os-release").splitlines()
    assert said(lab, machine.name, "hostname") == machine.name


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
@pytest.mark.parametrize(("here", "there"), [MACHINES, MACHINES[::-1]], ids=["to trix", "to book"])
def test_hosts_of_different_ranges_reach_each_other_by_name(
    lab: Lab, here: Machine, there: Machine, family: str
) -> None:
    assert said(lab, here.name, "python3", "-c", _GREET, there.name, str(there.ssh_port), family) == "SSH-"


@pytest.mark.parametrize(
    ("to", "user"),
    [(way, machine.ssh_user) for machine in MACHINES for way in (machine.name, *machine.addresses)],
)
def test_ssh_finds_a_host_by_name_and_by_each_address(lab: Lab, to: str, user: str) -> None:
    assert ssh(lab, to, "id -un; sudo -n id -un").stdout.split() == [user, "root"]


def test_ssh_refuses_a_host_with_another_key(lab: Lab) -> None:
    wrong = ssh(lab, "book", "-o", "HostKeyAlias=trix", "-o", "ControlPath=none", "true")
    assert wrong.returncode == 255
    assert "Host key verification failed" in wrong.stderr


def test_exec_passes_words_input_and_status_unchanged(lab: Lab) -> None:
    words = ["a b", "$HOME", "%n", "x;y", "'", '"', "\\n", ""]
    assert said(lab, "book", "printf", "%s|", *words) == "|".join(words) + "|"
    assert lab.host("trix").exec(["cat"], input="hello\n").stdout == "hello\n"
    assert lab.host("trix").exec(["sh", "-c", "exit 7"]).returncode == 7


def test_exec_that_does_not_end_is_said(lab: Lab) -> None:
    with pytest.raises(FoundError, match="book: `sleep 60` did not end within 1 s"):
        lab.host("book").exec(["sleep", "60"], timeout=1)


@pytest.mark.parametrize("host", HOSTS)
def test_apt_installs_from_the_local_archive_without_a_network(lab: Lab, host: str) -> None:
    said(lab, host, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qq", "-y", "nginx")
    assert said(lab, host, "systemctl", "is-active", "nginx") == "active"


@pytest.mark.parametrize("host", HOSTS)
def test_a_reboot_keeps_the_disk_and_loses_the_firewall(lab: Lab, host: str) -> None:
    before = said(lab, host, "cat", "/proc/sys/kernel/random/boot_id")
    said(lab, host, "touch", "/root/kept")
    said(lab, host, "nft", "add", "table", "inet", "lost")
    lab.host(host).reboot()
    assert said(lab, host, "cat", "/proc/sys/kernel/random/boot_id") != before
    said(lab, host, "test", "-e", "/root/kept")
    assert "lost" not in said(lab, host, "nft", "list", "tables")
    assert lab.host(host).settle() == []


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_whose_power_was_cut_boots_again(lab: Lab, host: str) -> None:
    victim = lab.host(host)
    victim.power_cut()
    assert victim.status()["state"] == "off"
    with pytest.raises(FoundError, match="is off"):
        victim.exec(["true"])
    victim.power_on()
    assert victim.settle() == []
    assert ssh(lab, host, "true").returncode == 0


def test_an_orderly_power_off_and_on(lab: Lab) -> None:
    host = lab.host("book")
    host.power_off()
    assert not host.running()
    host.power_on()
    assert host.settle() == []


def test_a_pulled_cable_silences_a_host_also_after_its_reboot(lab: Lab) -> None:
    book = MACHINES[0]
    greet = ("python3", "-c", _GREET, book.name, str(book.ssh_port))
    lab.host("book").link(False)
    try:
        assert lab.host("trix").exec([*greet, "AF_INET"]).returncode != 0
        assert lab.host("book").status()["link"] == "unplugged"
        with pytest.raises(FoundError, match="book does not answer"):
            lab.host("book").reboot(limit_s=3)
    finally:
        lab.host("book").link(True)
    for family in ("AF_INET", "AF_INET6"):
        assert said(lab, "trix", *greet, family) == "SSH-"


def test_a_frozen_host_is_silent_until_it_thaws(lab: Lab) -> None:
    book = MACHINES[0]
    lab.host("book").freeze()
    try:
        assert lab.host("book").status()["state"] == "frozen"
        greeted = lab.host("trix").exec(["python3", "-c", _GREET, book.name, str(book.ssh_port), "AF_INET"])
        assert "TimeoutError" in greeted.stderr
    finally:
        lab.host("book").thaw()
    assert ssh(lab, "book", "true").returncode == 0


@pytest.mark.parametrize("host", HOSTS)
def test_a_sysctl_that_belongs_to_the_machine_is_the_hosts_own(lab: Lab, host: str) -> None:
    machines_own = Path("/proc/sys/net/core/rmem_max").read_text()
    said(lab, host, "sh", "-c", "echo net.core.rmem_max = 4242 > /etc/sysctl.d/60-test.conf")
    said(lab, host, "sysctl", "-q", "-p", "/etc/sysctl.d/60-test.conf")
    assert said(lab, host, "sysctl", "-n", "net.core.rmem_max") == "4242"
    lab.host(host).reboot()
    assert said(lab, host, "cat", "/proc/sys/net/core/rmem_max") == "4242"
    assert Path("/proc/sys/net/core/rmem_max").read_text() == machines_own


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    before = [host.init_pid() for host in lab.hosts()]
    told: list[str] = []
    lab.up(MACHINES, PACKAGES, say=told.append)
    assert [host.init_pid() for host in lab.hosts()] == before
    assert told == []


def test_up_refuses_a_machine_that_is_now_another(lab: Lab) -> None:
    moved = Machine("book", "bookworm", ("192.0.2.52",))
    with pytest.raises(
        InputError, match=r"book was booted with addresses 192.0.2.51 2001:db8::51, not 192.0.2.52; take"
    ):
        lab.up([moved], PACKAGES)


def test_a_host_that_joins_is_known_to_all(lonely: Lab) -> None:
    lonely.up([ALONE], PACKAGES)
    second = Machine("second", "trixie", ("203.0.113.9",))
    told: list[str] = []
    lonely.up([second], PACKAGES, say=told.append)
    assert told[0].startswith("alone: stays")
    assert said(lonely, "alone", "getent", "ahostsv4", "second").startswith("203.0.113.9 ")
    assert ssh(lonely, "second", "hostname").stdout.strip() == "second"


def test_an_archive_is_built_while_another_lab_builds_from_the_same_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another package set, so that only apt itself could make one wait for the other; lockf is what apt takes."""
    base = images.images({"trixie": []}, print)["trixie"].layers[1].parent
    monkeypatch.setenv("RESTANTE_LAB_CACHE", str(tmp_path))
    (tmp_path / base.name).symlink_to(base)
    with (base / "root/var/lib/dpkg/lock-frontend").open("w") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        archive = images.images({"trixie": ["hello"]}, print)["trixie"].archive
    assert [path.name.split("_")[0] for path in archive.glob("*.deb")] == ["hello"]


def test_two_labs_do_not_know_each_other(lab: Lab, lonely: Lab) -> None:
    twin = Machine(MACHINES[0].name, "trixie", MACHINES[0].addresses)
    lonely.up([twin], PACKAGES)
    assert "trixie" in said(lonely, "book", "cat", "/etc/os-release")
    assert "bookworm" in said(lab, "book", "cat", "/etc/os-release")
    lonely.down()
    assert lab.host("book").running()


def leftovers(lab: Lab) -> Sequence[object]:
    group = Layout(lab.directory).cgroup
    return [
        *processes(str(lab.directory)),
        *(path for path in (hierarchy / group for hierarchy in cgroup.hierarchies()) if path.exists()),
        *(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(lab.directory) in line),
    ]


def test_down_leaves_nothing_and_may_be_said_twice(lonely: Lab) -> None:
    before = set(Path("/run").glob("netns/*"))
    lonely.up([ALONE], PACKAGES)
    assert processes(str(lonely.directory))
    lonely.down()
    assert leftovers(lonely) == []
    assert not lonely.directory.exists()
    assert set(Path("/run").glob("netns/*")) == before
    lonely.down()
    assert lonely.status() == []


def test_a_bound_lab_ends_with_its_caller_and_can_be_started_again(lonely: Lab) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", _CALLER, str(lonely.directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "up\n"
    assert lonely.alive()
    caller.send_signal(signal.SIGKILL)
    caller.communicate(timeout=10)
    assert await_true(lambda: not processes(str(lonely.directory)), 10)
    lonely.up([ALONE], PACKAGES)
    assert lonely.host("alone").settle() == []
