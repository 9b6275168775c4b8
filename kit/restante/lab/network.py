"""The lab's network: one bridge, and every host on it with a cable.

Each address is a /32 or /128 and the whole world is on the link, so that hosts of different documentation ranges reach
each other without a router. A host's network namespace is made at boot and goes when it goes down: a firewall or a
sysctl that nothing restores at boot is gone after a reboot, as on a real host.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence

from restante.lab.layout import Seat
from restante.lab.system import run

# The end of the lab that commands run at: TEST-NET-3 (RFC 5737) and the documentation prefix (RFC 3849).
CONTROLLER = ("203.0.113.254", "2001:db8:ffff::fffe")
_BRIDGE = "br0"
_WORLD = {4: "0.0.0.0/0", 6: "::/0"}


def lay_out() -> None:
    """The bridge, and the controller on it, in the namespace of the caller."""
    # mcast_snooping off: no querier lives here, and a snooping bridge would lose IPv6 neighbour solicitations.
    bridge = f"link add {_BRIDGE} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
    _batch(["link set lo up", bridge, f"link set {_BRIDGE} up", *_addressed(CONTROLLER, _BRIDGE)])


def plug(seat: Seat, addresses: Sequence[str]) -> None:
    """A new namespace called after the host, cabled to the bridge."""
    unplug(seat)
    state = "down" if seat.unplugged.exists() else "up"
    cable = f"link add {seat.port} type veth peer name eth0 address {seat.mac} netns {seat.name}"
    _batch([f"netns add {seat.name}", cable, f"link set {seat.port} master {_BRIDGE} {state}"])
    _batch(["link set lo up", "link set eth0 up", *_addressed(addresses, "eth0")], namespace=seat.name)


def unplug(seat: Seat) -> None:
    """Away with the namespace, if there is one; what the host still had to say is lost."""
    for argv in (["link", "del", seat.port], ["netns", "del", seat.name]):
        subprocess.run(["ip", *argv], capture_output=True, check=False)


def hosts_file(names: Sequence[tuple[str, Sequence[str]]]) -> str:
    """hosts(5): every machine of the lab by its name."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {name}" for name, addresses in names for address in addresses]
    return "\n".join(lines) + "\n"


def _addressed(addresses: Sequence[str], link: str) -> list[str]:
    """nodad: with duplicate address detection an IPv6 address would be unusable for its first second."""
    parsed = [ipaddress.ip_address(address) for address in addresses]
    own = [f"addr add {a}/{a.max_prefixlen} dev {link}{' nodad' if a.version == 6 else ''}" for a in parsed]
    return [*own, *(f"route add {_WORLD[version]} dev {link}" for version in sorted({a.version for a in parsed}))]


def _batch(lines: Sequence[str], *, namespace: str | None = None) -> None:
    run(["ip", *(["-n", namespace] if namespace else []), "-batch", "-"], stdin="\n".join(lines) + "\n")
