"""One machine of a lab: its power, its cable, and a console to run commands at."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restante.errors import FoundError, InputError
from restante.lab import cgroup
from restante.lab.furnish import MISSING_SYSCTLS
from restante.lab.layout import Seat
from restante.lab.machine import Machine, Order
from restante.lab.runner import BOOT_LIMIT_S
from restante.lab.system import await_true, children, holder, run

if TYPE_CHECKING:
    from restante.lab.lab import Lab

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Host:
    """Acts from outside, so that it works while the host's network or ssh server does not."""

    def __init__(self, lab: Lab, seat: Seat) -> None:
        self._lab, self._seat = lab, seat
        self.name = seat.name

    @property
    def machine(self) -> Machine:
        return Order.read(self._seat.order).machine

    @property
    def console(self) -> Path:
        """What the host wrote to its console, over all its boots."""
        return self._seat.console

    def path(self, path: str) -> Path:
        """A file of the host, from here, running or not, while its lab is up (proc_pid_root(5): the disk is mounted in there only)."""
        return Path(f"/proc/{self._lab.supervisor()}/root") / str(self._seat.root).lstrip("/") / path.lstrip("/")

    def init_pid(self) -> int | None:
        """The host's PID 1, numbered as this machine does."""
        runner = holder(self._seat.lock)
        for nspawn in children(runner) if runner else []:
            for child in children(nspawn):
                if _is_first(child):
                    return child
        return None

    def running(self) -> bool:
        return holder(self._seat.lock) is not None

    def status(self) -> dict[str, Any]:
        state = "off" if not self.running() else "frozen" if cgroup.is_frozen(self._seat.cgroup) else "running"
        link = "unplugged" if self._seat.unplugged.exists() else "plugged"
        machine = self.machine
        return {
            "name": self.name, "suite": machine.suite, "addresses": list(machine.addresses),
            "state": state, "link": link,
        }  # fmt: skip

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as subprocess.run
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a unit of the host's systemd, with no more rights than the host has; needs no network."""
        try:
            return subprocess.run(
                self.console_command(argv, timeout), input=input or "", capture_output=True, text=True, check=False,
                timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FoundError(f"lab: {self.name}: `{' '.join(argv)}` did not end within {timeout:.0f} s") from None

    def console_command(self, argv: Sequence[str], timeout: float | None = None) -> list[str]:
        """What to run here so that `argv` runs there, its streams and exit status being ours.

        The host ends it a second after `timeout`, so that what nobody waits for any longer does not stay.
        """
        if len(argv) == 1 and " " in argv[0]:
            raise InputError(
                f"lab: '{argv[0]}' is one word to a host; give a program and its arguments, or sh -c '{argv[0]}'"
            )
        if not (init := self.init_pid()):
            raise FoundError(f"lab: {self.name} is off; nothing can run there before it is on again")
        unit = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--setenv=HOME=/root"]
        limit = [f"--property=RuntimeMaxSec={timeout + 1}"] if timeout else []
        enter = ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "--", "env", "-i", f"PATH={_PATH}"]
        # systemd would put its own variables in (systemd.service(5), command lines).
        return [*enter, *unit, *limit, "--", *(word.replace("$", "$$") for word in argv)]

    def settle(self) -> list[str]:
        """Wait until the host's systemd has started all it has to; the units that failed."""
        self.exec(["systemctl", "is-system-running", "--wait"], timeout=BOOT_LIMIT_S)
        failed = self.exec(["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).stdout
        return [line.split()[0] for line in failed.splitlines()]

    def missing_sysctls(self) -> list[str]:
        """Keys of Machine.sysctls that do not exist here, so that nothing could be put in their place."""
        return self.exec(["cat", MISSING_SYSCTLS]).stdout.split()

    def power_on(self) -> None:
        """Boot on the same disk; returns when ssh answers. Harmless when it runs."""
        self._lab.boot([self.name])

    def power_off(self) -> None:
        """An orderly shutdown."""
        self.exec(["systemctl", "poweroff"])
        self._await(lambda: not self.running(), "power off")

    def power_cut(self) -> None:
        """Silence first, then everything dies: no FIN, no RST reaches a peer. Page cache survives, as docs say."""
        self._cable("down")
        if init := self.init_pid():
            os.kill(init, signal.SIGKILL)
        self._await(lambda: not self.running(), "die")

    def reboot(self, limit_s: float = BOOT_LIMIT_S) -> None:
        """An orderly reboot; returns when ssh answers again."""
        before = self.init_pid()
        self.exec(["systemctl", "reboot"])
        self._await(lambda: self.init_pid() not in {before, None}, "come back")
        self._lab.boot([self.name], limit_s)

    def link(self, up: bool) -> None:
        """Plug the network cable in or pull it; it stays so over a reboot."""
        if up:
            self._seat.unplugged.unlink(missing_ok=True)
        else:
            self._seat.unplugged.touch()
        self._cable("up" if up else "down")

    def freeze(self) -> None:
        """Stop every process; the kernel still answers for them, a gray failure."""
        cgroup.freeze(self._seat.cgroup, frozen=True)

    def thaw(self) -> None:
        cgroup.freeze(self._seat.cgroup, frozen=False)

    def _cable(self, state: str) -> None:
        if self.running():
            run([*self._lab.prefix(), "ip", "link", "set", self._seat.port, state])

    def _await(self, condition: Callable[[], bool], what: str) -> None:
        if not await_true(condition, BOOT_LIMIT_S):
            raise FoundError(f"lab: {self.name} did not {what} within {BOOT_LIMIT_S} s; its console: {self.console}")


def _is_first(pid: int) -> bool:
    """Whether it is the first of a pid namespace below the lab's (proc_pid_status(5), NSpid)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
    return numbers[-1] == "1"
