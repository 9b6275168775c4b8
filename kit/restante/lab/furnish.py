"""The few files that make a copy of an image one machine: its name, its keys, its ssh server, its kernel parameters.

They are written into the upper directory before the first boot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restante.lab.machine import Machine

_KEYS_FILE = "/etc/ssh/authorized_keys.lab"
_SCRIPT = "/usr/local/lib/restante-lab/sysctls"
MISSING_SYSCTLS = "/run/restante-lab/missing"


@dataclass(frozen=True)
class File:
    text: str
    mode: int = 0o644


def files(machine: Machine, host_key: str, operator_key: str, hosts: str) -> dict[str, File]:
    """Path on the host -> file."""
    made = {
        "/etc/hostname": File(f"{machine.name}\n"),
        "/etc/hosts": File(hosts),
        "/etc/ssh/ssh_host_ed25519_key": File(host_key, 0o600),
        "/etc/ssh/sshd_config.d/lab.conf": File(_sshd(machine)),
        _KEYS_FILE: File(operator_key),
    }
    if machine.ssh_user != "root":
        made["/etc/sudoers.d/lab"] = File(f"{machine.ssh_user} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    if machine.sysctls:
        made[_SCRIPT] = File(_sysctl_script(machine.sysctls), 0o755)
        made["/etc/systemd/system/systemd-sysctl.service.d/lab.conf"] = File(
            f"[Service]\nExecStartPre={_SCRIPT} replace\nExecStartPost={_SCRIPT} settle\n"
        )
    return made


def write(root: Path, made: dict[str, File]) -> None:
    for path, file in made.items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.text)
        target.chmod(file.mode)


def _sshd(machine: Machine) -> str:
    return (
        f"Port {machine.ssh_port}\nHostKey /etc/ssh/ssh_host_ed25519_key\n"
        f"AuthorizedKeysFile .ssh/authorized_keys {_KEYS_FILE}\n"
    )


def _sysctl_script(keys: tuple[str, ...]) -> str:
    """A file of the host's own, mounted over each key that a container may not write, before systemd-sysctl writes it.

    systemd-sysctl(8) does not truncate, as it writes to the kernel: 512 over 212992 would leave a second line, so
    afterwards only the first is kept.
    """
    return f"""#!/bin/sh
set -eu
mkdir -p {Path(MISSING_SYSCTLS).parent}
cd {Path(MISSING_SYSCTLS).parent}
for key in {" ".join(keys)}; do
    live=/proc/sys/$(echo "$key" | tr . /)
    if [ "$1" = settle ]; then
        [ ! -e "$key" ] || head -n 1 "$live" > "$key.first"
        [ ! -e "$key" ] || cat "$key.first" > "$live"
    elif [ ! -e "$live" ]; then
        echo "$key" >> {MISSING_SYSCTLS}
    elif [ ! -e "$key" ]; then
        cat "$live" > "$key"
        mount --bind "$key" "$live"
    fi
done
"""
