"""Where a lab keeps what, and what its things are called. One lab is one directory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from restante.lab.machine import short

# A file system of the lab's own mount namespace, so that it goes with it. Short, because a control socket's path must
# fit into the 108 bytes of sun_path (unix(7)), and a lab's directory may be deep.
CONTROL_SOCKETS = Path("/run/restante-lab")


@dataclass(frozen=True)
class Layout:
    """The paths of one lab."""

    directory: Path

    @cached_property
    def cgroup(self) -> str:
        """Named by the whole path: two labs may share a directory name."""
        return f"lab-{short(str(self.directory))}"

    @property
    def lock(self) -> Path:
        return self.directory / "supervisor.lock"

    @property
    def log(self) -> Path:
        return self.directory / "supervisor.log"

    @property
    def hosts_file(self) -> Path:
        return self.directory / "hosts"

    @property
    def ssh(self) -> Path:
        return self.directory / "ssh"

    @property
    def machines(self) -> Path:
        return self.directory / "machines"

    def seat(self, name: str) -> Seat:
        return Seat(self, name)

    def seats(self) -> list[Seat]:
        """The machines that were seated here, whether they run or not."""
        return [Seat(self, path.parent.name) for path in sorted(self.machines.glob("*/machine.json"))]


@dataclass(frozen=True)
class Seat:
    """The paths and names of one machine."""

    lab: Layout
    name: str

    @property
    def directory(self) -> Path:
        return self.lab.machines / self.name

    @property
    def order(self) -> Path:
        return self.directory / "machine.json"

    @property
    def upper(self) -> Path:
        return self.directory / "upper"

    @property
    def work(self) -> Path:
        return self.directory / "work"

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def lock(self) -> Path:
        return self.directory / "runner.lock"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def unplugged(self) -> Path:
        """Exists while the cable is pulled: a boot must not plug it in again."""
        return self.directory / "unplugged"

    @property
    def cgroup(self) -> str:
        return f"{self.lab.cgroup}/{self.name}"

    @property
    def port(self) -> str:
        """The bridge's end of the host's cable. Interface names end at 15 characters, host names do not."""
        return f"v-{short(self.name)}"

    @property
    def mac(self) -> str:
        """Stays over a reboot, as a network card's does: else the neighbours would talk to the old one for a while."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return "02:" + ":".join(f"{byte:02x}" for byte in digest[:5])
