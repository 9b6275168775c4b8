"""A lab: real Debian hosts in namespaces of their own, under the addresses that they are given.

One supervisor owns the mount, network and pid namespaces; when it dies, all of it is gone but files and empty cgroups.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from restante.errors import FoundError, InputError
from restante.lab import cgroup, furnish, network, ssh
from restante.lab.host import Host
from restante.lab.images import images
from restante.lab.layout import Layout
from restante.lab.machine import Machine, Order, check_together
from restante.lab.probe import probe
from restante.lab.runner import BOOT_LIMIT_S
from restante.lab.system import alone, await_true, holder, last_words

Say = Callable[[str], None]

_START_LIMIT_S = 20
_NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")


def _silent(_: str) -> None:
    """For callers who do not show progress."""


class Lab:
    """`directory` holds all that a lab has: disks, keys, the ssh configuration. Two directories are two labs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.id = self.directory.name
        self.ssh_config = self.directory / "ssh/config"
        self.authority = self.directory / "authority"
        self._layout = Layout(self.directory)
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._leash: int | None = None

    def up(
        self, machines: Sequence[Machine], packages: Mapping[str, Sequence[str]], *,
        names: Mapping[str, str] | None = None, bound: bool = False, say: Say = _silent,
    ) -> list[Host]:  # fmt: skip
        """Boot what does not run yet; what runs stays. Returns when ssh answers and systemd has settled on all of it.

        `packages`: what the hosts of each suite may install, closed over dependencies. `names`: what else is found in
        /etc/hosts, name -> address. `bound`: the lab ends when the calling process does, however it ends. `say` is told of each step.
        """
        _check(machines)
        if not self.alive():
            probe(self.directory.parent)
        made = images({suite: packages.get(suite, ()) for suite in sorted({m.suite for m in machines})}, say)
        return self._boot(
            [Order(machine, made[machine.suite]) for machine in machines], names or {}, bound=bound, say=say
        )

    def rest(self) -> None:
        """Shut every host down in order. Their disks stay, for other labs to be laid over, until `down`."""
        for host in self.hosts():
            if host.running():
                host.power_off()
        with alone(self.directory.parent):
            self._end()

    def lay_over(
        self, other: Lab, machines: Sequence[str], names: Mapping[str, str], *, bound: bool = False
    ) -> list[Host]:
        """Boot machines of a lab that rests, over their disks, which are only read: any number of labs may share them.

        `names`: what else is found in each host's /etc/hosts, name -> address.
        """
        if other.alive():
            raise InputError(f"lab {other.id} runs; only over the disks of one that rests can another be laid")
        seats = [seat for seat in Layout(other.directory).seats() if seat.name in machines]
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        return self._boot([Order.read(seat.order).over(seat.upper) for seat in seats], names, bound=bound, say=_silent)

    def _boot(self, orders: Sequence[Order], names: Mapping[str, str], *, bound: bool, say: Say) -> list[Host]:
        machines = [order.machine for order in orders]
        with alone(self.directory.parent):
            self._compare(machines, say)
            began = monotonic()
            if not self.alive():
                self._start(bound=bound)
            self._seat(orders, names)
            off = [host for host in self.hosts() if not host.running()]
            self.boot([host.name for host in off])
            for host in off:
                say(_greeting(host))
            if off:
                say(f"{len(off)} hosts booted in {monotonic() - began:.1f} s")
        return self.hosts()

    def boot(self, names: Sequence[str], limit_s: float = BOOT_LIMIT_S) -> None:
        """Boot these machines, all at once, and wait until ssh answers; one that runs is only waited for."""
        if names:
            runner = [sys.executable, "-m", "restante.lab.runner", str(self.directory), str(limit_s), *names]
            enter_and_run = [*self.prefix(), *runner]
            done = subprocess.run(enter_and_run, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.returncode:
                raise FoundError(last_words(done.stderr, lines=20))

    def down(self) -> None:
        """Stop everything and leave nothing behind; harmless when there is nothing. Raises FoundError with what would not go."""
        if not self.directory.parent.exists():
            return
        with alone(self.directory.parent):
            self._end()
            self._sweep()
            shutil.rmtree(self.directory, ignore_errors=True)
            if left := [*cgroup.left(self._layout.cgroup), *([self.directory] if self.directory.exists() else [])]:
                raise FoundError(f"lab {self.id}: it is down, but this would not go: {', '.join(map(str, left))}")

    def alive(self) -> bool:
        return holder(self._layout.lock) is not None

    def status(self) -> list[dict[str, Any]]:
        """Per machine its name, suite, addresses, state (running, frozen, off) and link (plugged, unplugged)."""
        return [host.status() for host in self.hosts()]

    def hosts(self) -> list[Host]:
        return [Host(self, seat) for seat in self._layout.seats()]

    def host(self, name: str) -> Host:
        for host in self.hosts():
            if host.name == name:
                return host
        self.prefix()  # a lab that is not up says so, rather than that it has no hosts
        raise InputError(f"lab {self.id} has no host '{name}'; it has {', '.join(host.name for host in self.hosts())}")

    def prefix(self) -> list[str]:
        """Put before a command, it runs where the hosts are reached. Paths in it must be absolute."""
        return ["nsenter", "-t", str(self.supervisor()), "-m", "-n", "-p", "--"]

    def supervisor(self) -> int:
        """The process that all of it hangs on."""
        if pid := holder(self._layout.lock):
            return pid
        raise InputError(f"lab {self.id} is not up; start it with: restante lab up SPEC")

    def _compare(self, machines: Sequence[Machine], say: Say) -> None:
        """A machine is what it was booted as: another suite or address under its name is refused, not half applied."""
        if not self.alive():
            return
        asked = {machine.name: machine for machine in machines}
        for host in self.hosts():
            if host.name not in asked:
                say(f"{host.name}: stays, though it is asked for no longer; restante lab down SPEC removes it")
            elif changes := host.machine.differences(asked[host.name]):
                raise InputError(
                    f"lab {self.id}: {host.name} was booted with {changes}; take the lab down and up again to change it"
                )
        check_together((*asked.values(), *(host.machine for host in self.hosts() if host.name not in asked)))

    def _start(self, *, bound: bool) -> None:
        self._sweep()
        self.directory.mkdir(exist_ok=True, mode=0o755)
        self._layout.hosts_file.touch()
        reader, writer = os.pipe() if bound else (None, None)
        leash = [str(reader)] if bound else []
        with self._layout.log.open("wb") as log:
            self._supervisor = subprocess.Popen(
                [*_NAMESPACES, sys.executable, "-m", "restante.lab.supervisor", str(self.directory), *leash],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
                pass_fds=[reader] if reader is not None else [],
            )  # fmt: skip
        if reader is not None:
            os.close(reader)
        self._leash = writer
        process = self._supervisor
        if not await_true(lambda: self.alive() or process.poll() is not None, _START_LIMIT_S) or not self.alive():
            self._let_go()
            said = last_words(self._layout.log.read_text(errors="replace"))
            raise FoundError(f"lab {self.id}: the supervisor did not start:\n{said}")

    def _end(self) -> None:
        if pid := holder(self._layout.lock):
            os.kill(pid, signal.SIGKILL)
            # Gone, not only unlocked: the kernel ends the whole namespace before it lets its first process go.
            if not await_true(lambda: not Path(f"/proc/{pid}").exists(), _START_LIMIT_S):
                raise FoundError(f"lab {self.id}: its supervisor, process {pid}, was killed and is still there")
        self._let_go()

    def _seat(self, orders: Sequence[Order], names: Mapping[str, str]) -> None:
        """Make a place for each new machine, and let every machine and the controller know all of them by name."""
        seated = {seat.name for seat in self._layout.seats()}
        new = [order for order in orders if order.machine.name not in seated]
        if not new:
            return
        everyone = [*(order.machine for order in new), *(host.machine for host in self.hosts())]
        known = [(machine.name, machine.addresses) for machine in everyone]
        hosts = network.hosts_file([*known, *((name, (address,)) for name, address in names.items())])
        for path in (self._layout.hosts_file, *(host.path("/etc/hosts") for host in self.hosts())):
            path.write_text(hosts)
        _, operator = ssh.key_pair(self._layout.ssh / "id_ed25519")
        for order in new:
            machine, seat = order.machine, self._layout.seat(order.machine.name)
            for directory in (seat.upper, seat.work, seat.root):
                directory.mkdir(parents=True, exist_ok=True)
            secret, _ = ssh.key_pair(self._host_key(machine))
            furnish.write(seat.upper, furnish.files(machine, secret, operator, hosts))
            order.write(seat.order)
        keys = {machine.name: ssh.key_pair(self._host_key(machine))[1] for machine in everyone}
        (self._layout.ssh / "known_hosts").write_text(ssh.known_hosts(keys))
        self.ssh_config.write_text(ssh.config(everyone, self._layout.ssh))

    def _host_key(self, machine: Machine) -> Path:
        return self._layout.seat(machine.name).directory / "host_key"

    def _let_go(self) -> None:
        """Our ends of a supervisor that this process started."""
        if self._leash is not None:
            os.close(self._leash)
            self._leash = None
        if self._supervisor is not None:
            self._supervisor.kill()
            self._supervisor.wait(_START_LIMIT_S)
            self._supervisor = None

    def _sweep(self) -> None:
        """What a dead lab leaves: empty cgroups and the disks, which a second life must not be mixed with."""
        cgroup.remove(self._layout.cgroup)
        shutil.rmtree(self._layout.machines, ignore_errors=True)


def _check(machines: Sequence[Machine]) -> None:
    check_together(tuple(machines))
    for machine in machines:
        for address in set(machine.addresses) & set(network.CONTROLLER):
            raise InputError(
                f"lab: {machine.name} has the address {address}, which the lab keeps for itself; give it another"
            )


def _greeting(host: Host) -> str:
    failed, missing, machine = host.settle(), host.missing_sysctls(), host.machine
    line = f"{host.name}: {machine.suite}, {', '.join(machine.addresses)}"
    if failed:
        line += f"; units failed: {', '.join(failed)}"
    if missing:
        line += f"; not in this kernel's network namespaces: {', '.join(missing)}"
    return line
