"""What a lab needs of this machine, looked at before anything is built."""

from __future__ import annotations

import os
import shutil

from restante.errors import InputError

COMMANDS = {
    "systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "dpkg-scanpackages": "dpkg-dev",
    "nft": "nftables", "ip": "iproute2", "ssh": "openssh-client", "ssh-keygen": "openssh-client",
    "unshare": "util-linux", "nsenter": "util-linux",
}  # fmt: skip


def probe() -> None:
    """Raises InputError that names everything missing."""
    if os.geteuid() != 0:
        raise InputError(
            "a lab boots systemd machines and needs root; run it with sudo, or on a machine where you are root"
        )
    missing = sorted({package for command, package in COMMANDS.items() if not shutil.which(command)})
    if missing:
        raise InputError(f"commands are missing that a lab needs; install them: apt-get install {' '.join(missing)}")
    with open("/proc/filesystems") as file:  # noqa: PTH123
        if "overlay" not in file.read() and not os.path.isdir("/sys/module/overlay"):  # noqa: PTH112
            raise InputError("this kernel has no overlay file system; a lab stacks its hosts on one base image")
