"""What a lab needs of this machine, tried before anything is built; each lack has its sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from restante.errors import InputError
from restante.lab import cgroup
from restante.lab.sources import KEYRING

# Command -> the Debian and Ubuntu package that has it.
COMMANDS = {
    "apt-get": "apt", "chroot": "coreutils", "dpkg-scanpackages": "dpkg-dev", "ip": "iproute2",
    "mmdebstrap": "mmdebstrap", "nsenter": "util-linux", "ssh": "openssh-client", "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container", "unshare": "util-linux",
}  # fmt: skip

_NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc"]
_CABLE = "ip link add br0 type bridge && ip link add v-0 type veth peer name v-1 && ip link set v-0 master br0"
_OVERLAY = 'cd "$0" && mkdir l u w m && mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w,volatile m'


def probe(directory: Path) -> None:
    """Raises InputError with every lack at once. `directory` is where hosts' disks will be; it is made."""
    if os.geteuid() != 0:
        raise InputError("lab: booting systemd machines needs root; run this with sudo, or where you are root")
    directory.mkdir(parents=True, exist_ok=True)
    if lacks := [*_commands(), *_files()]:
        raise InputError("\n".join(lacks))
    if lacks := list(_kernel(directory)):
        raise InputError("\n".join(lacks))


def _commands() -> Iterator[str]:
    missing = {command: package for command, package in COMMANDS.items() if not shutil.which(command)}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        yield f"lab: this machine lacks {', '.join(missing)}; install with: apt-get install {packages}"


def _files() -> Iterator[str]:
    if not Path(KEYRING).exists():
        yield f"lab: {KEYRING} is missing, which Debian's archive is checked with; install debian-archive-keyring"
    if not cgroup.unified():
        yield f"lab: {cgroup.ROOT} has no cgroup v2, alone or as unified beside v1; a host's systemd needs it mounted"


def _kernel(directory: Path) -> Iterator[str]:
    if said := _fails([*_NAMESPACES, "true"]):
        yield f"lab: mount, network or pid namespaces are refused ({said}); inside a container it must be privileged"
        return
    if said := _fails([*_NAMESPACES, "sh", "-ec", _CABLE]):
        yield f"lab: this kernel makes no bridge or no veth ({said}); load the modules bridge and veth"
    with tempfile.TemporaryDirectory(dir=directory, prefix="probe-") as scratch:
        if said := _fails([*_NAMESPACES, "sh", "-ec", _OVERLAY, scratch]):
            yield f"lab: {directory} takes no overlay ({said}); set RESTANTE_LAB_DIR to a directory on ext4 or xfs"


def _fails(argv: list[str]) -> str:
    """Empty when it works, else what was said."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return (done.stderr.strip() or f"status {done.returncode}") if done.returncode else ""
