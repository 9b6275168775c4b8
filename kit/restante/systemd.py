"""The two things a service and systemd say to each other: sd_notify(3) and the sockets it was started with, sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Does nothing without systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(state.encode())


def watchdog_interval_s() -> float | None:
    """How often WATCHDOG=1 is due, halved as sd_watchdog_enabled(3) advises."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(usec) / 2_000_000 if usec.isdigit() and mine else None


def sockets() -> dict[str, list[socket.socket]]:
    """Listening sockets by the FileDescriptorName of their units."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[socket.socket]] = {}
    for number, name in zip(range(3, 3 + int(os.environ.get("LISTEN_FDS", "0"))), names, strict=False):
        os.set_inheritable(number, False)
        found.setdefault(name, []).append(socket.socket(fileno=number))
    return found
