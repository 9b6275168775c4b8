"""What a lab is asked for, as plain data: it knows nothing of specs."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from restante.errors import InputError

SUITES = ("bookworm", "trixie")

# A container may not write these, and they belong to the whole machine; a deploy writes them on a host of its own.
HOST_SYSCTLS = ("net.netfilter.nf_conntrack_max", "net.core.rmem_max", "net.core.wmem_max", "fs.nr_open")

# RFC 1123, 2.1. The name becomes a path, a cgroup and a network namespace, so nothing else gets through.
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_SYSCTL = re.compile(r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+")


@dataclass(frozen=True)
class Machine:
    """One host: its name, Debian release, addresses (IPv4 and IPv6, any documentation range) and the way in.

    `sysctls` are keys that this host shall be able to write though containers cannot: see docs/reference/lab.md.
    """

    name: str
    suite: str
    addresses: tuple[str, ...]
    ssh_user: str = "root"
    ssh_port: int = 22
    sysctls: tuple[str, ...] = HOST_SYSCTLS

    def __post_init__(self) -> None:
        if not _HOSTNAME.fullmatch(self.name):
            raise InputError(
                f"lab: '{self.name}' is no host name; accepted: lower case letters, digits and '-', up to 63"
            )
        if self.suite not in SUITES:
            raise InputError(f"lab: {self.name} wants the suite '{self.suite}'; the lab has {' and '.join(SUITES)}")
        if not _USER.fullmatch(self.ssh_user):
            raise InputError(f"lab: {self.name}: '{self.ssh_user}' is no user name that useradd(8) accepts")
        if not self.addresses:
            raise InputError(f"lab: {self.name} has no address; the lab needs at least one, IPv4 or IPv6")
        for address in self.addresses:
            _check_address(self.name, address)
        for key in self.sysctls:
            if not _SYSCTL.fullmatch(key):
                raise InputError(f"lab: {self.name}: '{key}' is no sysctl; accepted: dotted, as in net.core.rmem_max")

    def differences(self, other: Machine) -> str:
        """What `other` has that this one has not, in words; empty when they are the same."""
        mine, theirs = asdict(self), asdict(other)
        return "; ".join(
            f"{key} {_said(mine[key])}, not {_said(theirs[key])}" for key in mine if mine[key] != theirs[key]
        )

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Machine:
        lists = {key: tuple(document[key]) for key in ("addresses", "sysctls")}
        return cls(**{**document, **lists})


@dataclass(frozen=True)
class Image:
    """What a machine is booted from: read-only layers, topmost first, and the package archive bound into it."""

    layers: tuple[Path, ...]
    archive: Path


@dataclass(frozen=True)
class Order:
    """A machine and its image, as it was booted: kept beside its disk, so that any later process can boot it again."""

    machine: Machine
    image: Image

    def over(self, disk: Path) -> Order:
        """The same machine as it was when it left this disk, which becomes the topmost layer below it."""
        return replace(self, image=replace(self.image, layers=(disk, *self.image.layers)))

    def write(self, path: Path) -> None:
        image = {"layers": [str(layer) for layer in self.image.layers], "archive": str(self.image.archive)}
        path.write_text(json.dumps({"machine": asdict(self.machine), "image": image}, indent=2))

    @classmethod
    def read(cls, path: Path) -> Order:
        document = json.loads(path.read_bytes())
        layers = tuple(Path(layer) for layer in document["image"]["layers"])
        return cls(Machine.from_json(document["machine"]), Image(layers, Path(document["image"]["archive"])))


def check_together(machines: tuple[Machine, ...]) -> None:
    """One name and one address belong to one machine."""
    owners: dict[str, str] = {}
    for machine in machines:
        for claim in (machine.name, *machine.addresses):
            if owner := owners.get(claim):
                raise InputError(f"lab: {owner} and {machine.name} both have {claim}; give one of them another")
            owners[claim] = machine.name


def _said(value: object) -> str:
    return (" ".join(value) or "none") if isinstance(value, tuple) else str(value)


def _check_address(name: str, address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise InputError(f"lab: {name} has the address '{address}', which is neither IPv4 nor IPv6") from None


def cache_directory() -> Path:
    """Where images are kept between labs."""
    return Path(os.environ.get("RESTANTE_LAB_CACHE", "/var/cache/restante-lab"))


def labs_directory() -> Path:
    """Where all labs are."""
    return Path(os.environ.get("RESTANTE_LAB_DIR", "/var/lib/restante-lab"))


def lab_directory(file: Path) -> Path:
    """Where the lab of this spec file lives: $RESTANTE_LAB_DIR, named after the file and its place."""
    path = file.resolve()
    stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:24] or "lab"
    return labs_directory() / f"{stem}-{short(str(path))}"


def short(text: str) -> str:
    """Enough of a hash to tell things of one machine apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]
