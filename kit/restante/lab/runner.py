"""Keeps hosts running, inside the lab's namespaces: one process per host, which boots it again when it asks to reboot.

Started by Lab with the names of the hosts to boot; returns when all of them answer, the runners stay.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from restante.errors import FoundError, RestanteError
from restante.lab import cgroup, network
from restante.lab.layout import Layout, Seat
from restante.lab.machine import Machine, Order
from restante.lab.system import await_true, hold, holder, last_words, run

ARCHIVE_ON_HOST = "/srv/repo"
BOOT_LIMIT_S = 60
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_REBOOT = 133  # nspawn's exit status when a host started with --keep-unit asks to be booted again
_ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}


def main(directory: str, limit_s: str, *names: str) -> None:
    layout = Layout(Path(directory))
    seats = [layout.seat(name) for name in names]
    for seat in seats:
        order = Order.read(seat.order)
        _mount(seat, order)
        _add_user(seat, order.machine)
        if not holder(seat.lock):
            _leave_behind(seat, order)
    _await_hosts(seats, float(limit_s))


def _await_hosts(seats: Sequence[Seat], limit_s: float) -> None:
    """Until the ssh server of each says who it is. Raises FoundError for those that do not in time, or die."""
    deadline = time.monotonic() + limit_s
    for seat in seats:
        machine = Order.read(seat.order).machine
        while not _answers(machine):
            if not holder(seat.lock) or time.monotonic() > deadline:
                console = seat.console.read_text(errors="replace") if seat.console.exists() else ""
                raise FoundError(
                    f"lab: {seat.name} does not answer; its console's last lines:\n{last_words(console)}{_hint(console)}"
                )
            time.sleep(0.05)


def _hint(console: str) -> str:
    """All hosts are one user to the kernel, and share its inotify(7) instances with what else runs here."""
    if "inotify" not in console:
        return ""
    limit = _INOTIFY.read_text().strip()
    return f"\nall hosts here share {limit} inotify instances: fewer at a time (drill --jobs), or raise fs.inotify.max_user_instances"


def _answers(machine: Machine) -> bool:
    """Whether an ssh server sends its identification, which it does unasked (RFC 4253, 4.2)."""
    try:
        with socket.create_connection((machine.addresses[0], machine.ssh_port), timeout=1) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def nspawn(seat: Seat, order: Order) -> list[str]:
    """The command that is one host. Flags and their reasons: docs/reference/lab.md."""
    return [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={seat.root}", f"--machine={seat.name}",
        f"--network-namespace-path=/run/netns/{seat.name}", "--capability=CAP_NET_ADMIN", "--register=no",
        "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        f"--bind-ro={order.image.archive}:{ARCHIVE_ON_HOST}",
    ]  # fmt: skip


def _mount(seat: Seat, order: Order) -> None:
    """The disk: what the host writes, over its image. It outlives the host's boots, not the lab.

    volatile: no write of it is ever synced, which a boot of many hosts would wait for. It must not be used to judge
    durability: a directory that is to survive needs a real file system bound in.
    """
    if os.path.ismount(seat.root):
        return
    lower = ":".join(str(layer) for layer in order.image.layers)
    options = f"lowerdir={lower},upperdir={seat.upper},workdir={seat.work},volatile"
    run(["mount", "-t", "overlay", "overlay", "-o", options, str(seat.root)])


def _add_user(seat: Seat, machine: Machine) -> None:
    users, groups = (
        [line.split(":")[0] for line in (seat.root / f"etc/{file}").open()] for file in ("passwd", "group")
    )
    if machine.ssh_user not in users:
        # Debian brings groups that people are named after, such as operator; useradd refuses to make them again.
        group = ["--gid", machine.ssh_user] if machine.ssh_user in groups else ["--user-group"]
        user = [*group, "--create-home", "--shell", "/bin/bash", machine.ssh_user]
        run(["chroot", str(seat.root), "useradd", *user])


def _leave_behind(seat: Seat, order: Order) -> None:
    """A child that runs the host for as long as it wants to run, its output in the console's log."""
    child = os.fork()
    if child:
        if not await_true(lambda: holder(seat.lock) is not None or os.waitpid(child, os.WNOHANG)[0] > 0, BOOT_LIMIT_S):
            raise FoundError(f"lab: {seat.name}'s runner did not start within {BOOT_LIMIT_S} s")
        return
    os.setsid()
    console = os.open(seat.console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), console, console)):
        os.dup2(source, number)
    try:
        hold(seat.lock)
        while _boot(seat, order) == _REBOOT:
            pass
    except (RestanteError, OSError) as error:
        os.write(2, f"{error}\n".encode())
    finally:
        os._exit(0)


def _boot(seat: Seat, order: Order) -> int:
    """One life of the host, from power on to off. Group and network are new in each."""
    cgroup.prepare(seat.cgroup)
    network.plug(seat, order.machine.addresses)
    child = os.fork()
    if not child:
        try:
            cgroup.enter(seat.cgroup)
            argv = nspawn(seat, order)
            os.execvpe(argv[0], argv, {**os.environ, **_ENVIRONMENT})  # noqa: S606 - no shell is wanted
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    network.unplug(seat)
    cgroup.remove(seat.cgroup)
    return status


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except RestanteError as error:
        sys.exit(str(error))
