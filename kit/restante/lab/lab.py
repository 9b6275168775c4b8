"""A lab: real Debian hosts in namespaces of their own, on one bridge, under the addresses that they are given.

One supervisor process owns the mount, network and pid namespaces; when it dies, all of it is gone. Every host has its
addresses as /32 and /128 and finds everybody on the link, so that any documentation range works without a router.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from restante.errors import FoundError, InputError
from restante.lab import cgroup
from restante.lab.host import READ_ONLY_SYSCTLS, Host
from restante.lab.images import Image, images
from restante.lab.machine import Machine
from restante.lab.probe import probe

CONTROLLER = ("203.0.113.254", "2001:db8:ffff::fffe")
_GROUND = (
    "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && sysctl -qw net.ipv6.conf.all.accept_dad=0 "
    "net.ipv6.conf.default.accept_dad=0 && ip link set lo up && ip link add br0 type bridge forward_delay 0 stp_state 0 && "
    "ip addr add {}/32 dev br0 && ip addr add {}/128 dev br0 nodad && ip link set br0 up && touch {} && exec sleep infinity"
)


class Lab:
    """`directory` holds all of its state: disks, keys, the ssh configuration, the supervisor's pid."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.id = directory.name
        self.ssh_config = directory / "ssh_config"
        self.authority = directory / "authority"
        self._state = directory / "lab.json"

    def up(self, machines: Sequence[Machine], packages: dict[str, list[str]], *, bound: bool = False) -> list[Host]:
        """Boot what does not run yet. `bound`: the lab dies with the process that calls. Raises FoundError, InputError."""
        probe()
        for machine in machines:
            if set(machine.addresses) & set(CONTROLLER):
                raise InputError(f"{machine.name} has the address that the lab keeps for itself; give it another")
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        made = images(dict(packages))
        if not self.alive():
            self._remains()
            self._start(bound=bound)
        known = {host.name for host in self.hosts()}
        self._save(machines)
        self._write_ssh(machines)
        hosts = self.hosts()
        for host in hosts:
            if host.name not in known:
                self._prepare(host, made[host.machine.suite], machines)
                self._wire(host)
        self._route(machines)
        for host in hosts:
            if not host.running():
                host._spawn()
        for host in hosts:
            host.wait()
        return hosts

    def down(self) -> None:
        """Stop everything and leave nothing behind; harmless when there is nothing."""
        state = self._load()
        if pid := state.get("supervisor"):
            _kill(int(pid))
        self._remains()
        shutil.rmtree(self.directory, ignore_errors=True)

    def alive(self) -> bool:
        return _is_alive(self._load().get("pid"))

    def status(self) -> list[dict[str, Any]]:
        """Per machine: name, suite, addresses, and whether it runs."""
        alive = self.alive()
        return [{**asdict(host.machine), "running": alive and host.running()} for host in self.hosts()]

    def hosts(self) -> list[Host]:
        found = [
            Machine(**{**entry, "addresses": tuple(entry["addresses"])}) for entry in self._load().get("machines", [])
        ]
        return [Host(self, machine, f"v{index}") for index, machine in enumerate(found)]

    def host(self, name: str) -> Host:
        """Raises InputError when the lab has none of this name."""
        for host in self.hosts():
            if host.name == name:
                return host
        raise InputError(
            f"the lab has no host '{name}'; it has {', '.join(h.name for h in self.hosts()) or 'none: restante lab up'}"
        )

    def prefix(self) -> list[str]:
        """Put before a command, it runs where the hosts are reached. Raises InputError when the lab is not up."""
        pid = self._load().get("pid")
        if not _is_alive(pid):
            raise InputError("the lab is not up; start it with: restante lab up SPEC")
        return ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--"]

    def inside(self, *argv: str) -> None:
        done = subprocess.run([*self.prefix(), *argv], capture_output=True, text=True, check=False)
        if done.returncode:
            raise FoundError(f"the lab could not run {' '.join(argv)}: {done.stderr.strip()}")

    def _start(self, *, bound: bool) -> None:
        ready = self.directory / "ready"
        ready.unlink(missing_ok=True)
        leash = ["setpriv", "--pdeathsig", "KILL"] if bound else []
        namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
        with (self.directory / "supervisor.log").open("wb") as log:
            supervisor = subprocess.Popen(
                [*leash, *namespaces, "sh", "-c", _GROUND.format(*CONTROLLER, ready)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 10
        while not ready.exists():
            if supervisor.poll() is not None or time.monotonic() > deadline:
                supervisor.kill()
                raise FoundError(
                    f"the lab's namespaces could not be made: {(self.directory / 'supervisor.log').read_text()}"
                )
            time.sleep(0.01)
        child = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()[0]
        self._state.write_text(json.dumps({"supervisor": supervisor.pid, "pid": int(child), "machines": []}))

    def _prepare(self, host: Host, image: Image, machines: Sequence[Machine]) -> None:
        """A disk of its own over the image, and the little that differs between hosts."""
        folder, machine = host.directory, host.machine
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "repo").symlink_to(image.repository)
        lower = ":".join(str(layer) for layer in image.layers)
        overlay = f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work,volatile"
        self.inside("mount", "-t", "overlay", "overlay", "-o", overlay, f"{folder}/root")
        with self._mounted(host) as root:
            _write(root / "etc/hostname", f"{machine.name}\n")
            _write(root / "etc/hosts", _hosts_file(machines))
            _write(root / "etc/ssh/sshd_config.d/lab.conf", f"Port {machine.ssh_port}\nUseDNS no\n")
            _write(root / "etc/ssh/ssh_host_ed25519_key", (self.directory / "host_key").read_text(), 0o600)
            _write(root / "etc/systemd/system/lab-sysctl.service", _sysctl_unit())
            wants = root / "etc/systemd/system/sysinit.target.wants/lab-sysctl.service"
            wants.parent.mkdir(parents=True, exist_ok=True)
            wants.symlink_to("/etc/systemd/system/lab-sysctl.service")
        self._login(host)

    @contextmanager
    def _mounted(self, host: Host) -> Iterator[Path]:
        """The host's disk as this process sees it: the mount lives in the lab's own namespace."""
        yield Path(f"/proc/{self._load()['pid']}/root{host.directory}/root")

    def _login(self, host: Host) -> None:
        user, root = host.machine.ssh_user, f"{host.directory}/root"
        if user != "root":
            self.inside("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", user)
            with self._mounted(host) as tree:
                _write(tree / "etc/sudoers.d/lab", f"{user} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
        home = "root" if user == "root" else f"home/{user}"
        with self._mounted(host) as tree:
            _write(tree / home / ".ssh/authorized_keys", (self.directory / "id_ed25519.pub").read_text(), 0o600)
        self.inside("chroot", root, "chown", "-R", f"{user}:", f"/{home}/.ssh")

    def _wire(self, host: Host) -> None:
        name, link = host.name, host._link
        script = [
            f"ip netns add {name}",
            f"ip link add {link} type veth peer name eth0 netns {name}",
            f"ip link set {link} master br0 up",
            f"ip netns exec {name} sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0",
            f"ip -n {name} link set lo up",
            f"ip -n {name} link set eth0 up",
        ]
        for address in host.machine.addresses:
            length = ipaddress.ip_address(address).max_prefixlen
            script.append(f"ip -n {name} addr add {address}/{length} dev eth0" + (" nodad" if ":" in address else ""))
        script.append(f"ip -n {name} route add default dev eth0")
        script.append(f"ip -n {name} -6 route add default dev eth0")
        self.inside("sh", "-ec", "\n".join(script))

    def _route(self, machines: Sequence[Machine]) -> None:
        """From the controller to every host, and their names where the controller looks them up."""
        lines = [f"ip route replace {address} dev br0" for machine in machines for address in machine.addresses]
        hosts = self.directory / "hosts"
        hosts.write_text(_hosts_file(machines))
        self.inside("sh", "-ec", "\n".join([*lines, f"mount --bind {hosts} /etc/hosts"]))

    def _write_ssh(self, machines: Sequence[Machine]) -> None:
        for key in ("id_ed25519", "host_key"):
            if not (self.directory / key).exists():
                argv = [
                    "ssh-keygen",
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-C",
                    "restante lab",
                    "-f",
                    str(self.directory / key),
                ]
                subprocess.run(argv, check=True, capture_output=True)
        public = " ".join((self.directory / "host_key.pub").read_text().split()[:2])
        (self.directory / "known_hosts").write_text(f"* {public}\n")
        blocks = [
            f"Host {machine.name} {' '.join(machine.addresses)}\n  User {machine.ssh_user}\n  Port {machine.ssh_port}\n"
            for machine in machines
        ]
        names = [f"Host {machine.name}\n  HostName {machine.addresses[0]}\n" for machine in machines]
        common = (
            f"Host *\n  IdentityFile {self.directory}/id_ed25519\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  UserKnownHostsFile {self.directory}/known_hosts\n  StrictHostKeyChecking yes\n  ConnectTimeout 5\n"
            f"  ControlMaster auto\n  ControlPath {self.directory}/%C\n  ControlPersist 60\n  LogLevel ERROR\n"
        )
        self.ssh_config.write_text("".join([*blocks, *names, common]))

    def _remains(self) -> None:
        """What namespaces do not take with them: cgroups, nspawn's propagation directories, and the hosts' disks."""
        cgroup.remove(self.id)
        for path in Path("/run/systemd/nspawn/propagate").glob(f"{self.id}-*"):
            path.rmdir()
        for host in self.hosts():
            shutil.rmtree(host.directory, ignore_errors=True)
        self._state.unlink(missing_ok=True)

    def _load(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._state.read_text())
        except FileNotFoundError:
            return {}
        return found

    def _save(self, machines: Sequence[Machine]) -> None:
        beside = self._state.with_suffix(".new")
        beside.write_text(json.dumps({**self._load(), "machines": [asdict(machine) for machine in machines]}))
        beside.rename(self._state)


def _is_alive(pid: int | None) -> bool:
    """Ours, and not another process that got its number: the supervisor is `sleep infinity`."""
    try:
        return b"sleep\0infinity" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _kill(supervisor: int) -> None:
    try:
        os.kill(supervisor, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 10
    while Path(f"/proc/{supervisor}/cmdline").exists() and time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(supervisor, os.WNOHANG)
        if _gone(supervisor):
            return
        time.sleep(0.02)


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _hosts_file(machines: Sequence[Machine]) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    return (
        "\n".join([*lines, *(f"{address} {machine.name}" for machine in machines for address in machine.addresses)])
        + "\n"
    )


def _sysctl_unit() -> str:
    script = (
        f"mkdir -p /run/lab-sysctl; for key in {' '.join(READ_ONLY_SYSCTLS)}; do [ -e /proc/sys/$$key ] || continue; "
        "file=/run/lab-sysctl/$$(echo $$key | tr / .); cat /proc/sys/$$key > $$file; mount --bind $$file /proc/sys/$$key; done"
    )
    return (
        "[Unit]\nDescription=Files in place of kernel parameters that a container may not write\nDefaultDependencies=no\n"
        f'Before=systemd-sysctl.service sysinit.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c "{script}"\n'
    )
