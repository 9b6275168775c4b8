"""One booted host: what can be done to it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from restante.errors import FoundError
from restante.lab import cgroup
from restante.lab.machine import Machine

if TYPE_CHECKING:
    from restante.lab.lab import Lab

BOOT_LIMIT_S = 60
# The machine's root may not write these, and a container's less: each host gets a file of its own in their place.
READ_ONLY_SYSCTLS = ("net/netfilter/nf_conntrack_max", "fs/nr_open")


class Host:
    """A machine of a lab that is up. Power, link and freezer act from outside; exec goes in through ssh."""

    def __init__(self, lab: Lab, machine: Machine, link: str) -> None:
        self.lab, self.machine, self.name, self._link = lab, machine, machine.name, link

    @property
    def directory(self) -> Path:
        return self.lab.directory / self.name

    @property
    def cgroups(self) -> list[Path]:
        return cgroup.directories(self.lab.id, self.name)

    def exec(
        self, argv: Sequence[str], *, input_: str | None = None, limit_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host through ssh; its exit status is in the result."""
        command = [*self.lab.prefix(), "ssh", "-F", str(self.lab.ssh_config), self.name, "--", *argv]
        return subprocess.run(command, input=input_, capture_output=True, text=True, timeout=limit_s, check=False)

    def running(self) -> bool:
        return bool(self.init_pid())

    def init_pid(self) -> int | None:
        """The host's PID 1, as this machine numbers it."""
        for folder in self.cgroups:
            for scope in folder.glob("**/init.scope/cgroup.procs"):
                if pids := scope.read_text().split():
                    return int(pids[0])
        return None

    def power_on(self) -> None:
        """Boot, on the same disk; returns when ssh answers."""
        self.link(up=True)
        if not self.running():
            self._spawn()
        self.wait()

    def wait(self) -> None:
        """Until ssh answers and systemd has settled. Raises FoundError with the console's last lines."""
        deadline = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < deadline:
            if self.exec(["systemctl", "is-system-running", "--wait"]).returncode in {0, 1}:
                return
            time.sleep(0.1)
        console = (self.directory / "console.log").read_text(errors="replace")[-1500:]
        raise FoundError(f"{self.name} did not answer within {BOOT_LIMIT_S} s; its console says\n{console}")

    def reboot(self) -> None:
        before = self.init_pid()
        self.exec(["systemctl", "reboot"])
        self._until(lambda: self.init_pid() not in {before, None}, "come back")
        self.wait()

    def power_off(self) -> None:
        """An orderly shutdown."""
        self.exec(["systemctl", "poweroff"])
        self._until(lambda: not self.running(), "power off")

    def power_cut(self) -> None:
        """Silence first, then everything is dead: no FIN, no RST reaches a peer."""
        self.link(up=False)
        self.kill()

    def kill(self) -> None:
        """Kill the host's PID 1, and so all of it: killing nspawn would leave the host running."""
        if pid := self.init_pid():
            os.kill(pid, signal.SIGKILL)
            self._until(lambda: not self.running(), "die")

    def link(self, *, up: bool) -> None:
        self.lab.inside("ip", "link", "set", self._link, "up" if up else "down")

    def freeze(self) -> None:
        """Stop every process; the kernel still answers for them, which makes a gray failure."""
        cgroup.freeze(self.lab.id, self.name, frozen=True)

    def thaw(self) -> None:
        cgroup.freeze(self.lab.id, self.name, frozen=False)

    def _until(self, condition: object, what: str) -> None:
        deadline = time.monotonic() + BOOT_LIMIT_S
        while not condition():  # type: ignore[operator]
            if time.monotonic() > deadline:
                raise FoundError(f"{self.name} did not {what} within {BOOT_LIMIT_S} s")
            time.sleep(0.05)

    def _spawn(self) -> None:
        """nspawn under a shell that boots again when the host asks for it (status 133), with fresh cgroups each time.

        Left-over cgroups of an earlier life make units of the next one die with status=9/KILL.
        """
        for folder in self.cgroups:
            folder.mkdir(parents=True, exist_ok=True)
        enter = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in self.cgroups)
        clean = "".join(
            f"find {folder} -mindepth 1 -depth -type d -exec rmdir {{}} + 2>/dev/null; " for folder in self.cgroups
        )
        flags = (
            f"--quiet --directory={self.directory}/root --machine={self.lab.id}-{self.name} --hostname={self.name} --boot "
            f"--network-namespace-path=/run/netns/{self.name} --register=no --keep-unit --capability=CAP_NET_ADMIN "
            f"--link-journal=no --resolv-conf=off --timezone=off --bind-ro={self.directory}/repo:/srv/repo"
        )
        script = f"{enter}while :; do {clean}{' '.join(self.lab.prefix())} systemd-nspawn {flags}; [ $? = 133 ] || exit; done"
        with (self.directory / "console.log").open("ab") as console:
            subprocess.Popen(
                ["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                env={**os.environ, **cgroup.NSPAWN_ENVIRONMENT, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
            )  # fmt: skip
