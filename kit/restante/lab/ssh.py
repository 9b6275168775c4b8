"""Keys and the ssh configuration of a lab: one file with which ssh, ansible and testinfra reach every host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from restante.lab.layout import CONTROL_SOCKETS
from restante.lab.machine import Machine
from restante.lab.system import run


def key_pair(path: Path) -> tuple[str, str]:
    """Private and public half of the key at `path`, made when there is none."""
    public = path.with_name(f"{path.name}.pub")
    if not public.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "restante lab", "-f", str(path)])
    return path.read_text(), public.read_text()


def config(machines: Sequence[Machine], directory: Path) -> str:
    """ssh_config(5): hosts go by name or by any of their addresses, as ansible calls them.

    HostKeyAlias makes known_hosts speak of names, whatever the address and port. ServerAlive ends a shared connection
    to a host that lost its power, which would hold up every later command.
    """
    names = [f"Host {machine.name}\n  HostName {machine.addresses[0]}\n" for machine in machines]
    ways = [
        f"Host {machine.name} {' '.join(machine.addresses)}\n  User {machine.ssh_user}\n  Port {machine.ssh_port}\n"
        f"  HostKeyAlias {machine.name}\n"
        for machine in machines
    ]
    common = {
        "IdentityFile": directory / "id_ed25519", "IdentitiesOnly": "yes", "IdentityAgent": "none", "BatchMode": "yes",
        "UserKnownHostsFile": directory / "known_hosts", "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes", "ConnectTimeout": 5, "ServerAliveInterval": 5, "ServerAliveCountMax": 3,
        "ControlMaster": "auto", "ControlPath": CONTROL_SOCKETS / "%C", "ControlPersist": 60, "LogLevel": "ERROR",
    }  # fmt: skip
    rest = "Host *\n" + "".join(f"  {key} {value}\n" for key, value in common.items())
    return "\n".join([*names, *ways, rest])


def known_hosts(keys: dict[str, str]) -> str:
    """Host name -> its public key; the comment is left out."""
    return "".join(f"{name} {' '.join(key.split()[:2])}\n" for name, key in keys.items())
