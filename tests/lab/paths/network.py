"""Three network namespaces: an agent, a NAT router, a post office; and what can be done to the path between them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

AGENT, INSIDE, OUTSIDE, OFFICE = "198.51.100.2", "198.51.100.1", "203.0.113.1", "203.0.113.2"
MOVED = "192.0.2.10"  # another address of the post office
NAME = "agents.example.org"
# Shorter than a heartbeat's interval, so that the router forgets a flow that is in use.
FORGETS_S = 10
NAT = """
table inet nat {{
  chain post {{ type nat hook postrouting priority srcnat; oifname "up0" masquerade; }}
  chain forw {{ type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifname "dn0" tcp flags & (fin|syn|rst|ack) == syn ct state new accept
  }}
  chain inp {{ type filter hook input priority filter; policy {inp}; ct state established,related accept; }}
}}
"""
FAULT = "table inet fault {{\n chain forw {{ type filter hook forward priority -10\n {rules}\n }}\n}}"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


def run(*argv: str, stdin: str = "") -> None:
    subprocess.run(argv, input=stdin, text=True, check=True, capture_output=True)


def inside(space: str) -> list[str]:
    return ["ip", "netns", "exec", space]


class Network:
    """`forgets`: the router loses its flows. `resets`: it answers what it doesn't know. `slow`: the agent's link can be slowed."""

    def __init__(self, *, forgets: bool, resets: bool, slow: bool) -> None:
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        for name in ("agent", "nat", "office"):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        self.link = SlowLink(("eth0", "agent"), ("dn0", "nat")) if slow else None
        if not slow:
            _veth("agent", "eth0", "dn0")
        _veth("office", "eth0", "up0")
        _address(("agent", "eth0", AGENT), ("nat", "dn0", INSIDE))
        _address(("office", "eth0", OFFICE), ("nat", "up0", OUTSIDE))
        run("ip", "-n", "office", "addr", "add", f"{MOVED}/32", "dev", "lo")
        run("ip", "-n", "nat", "route", "add", MOVED, "via", OFFICE)
        run(*inside("nat"), "nft", "-f", "-", stdin=NAT.format(inp="accept" if resets else "drop"))
        settings = {"net.ipv4.ip_forward": 1, "net.netfilter.nf_conntrack_tcp_loose": 0}
        if forgets:
            settings["net.netfilter.nf_conntrack_tcp_timeout_established"] = FORGETS_S
        for key, value in settings.items():
            run(*inside("nat"), "sysctl", "-qw", f"{key}={value}")
        self._hosts, self._names = Path("/run/hosts"), Path("/etc/hosts").read_text()
        self.name(OFFICE)
        run("mount", "--bind", str(self._hosts), "/etc/hosts")

    def name(self, address: str) -> None:
        """The post office's name leads there from now on."""
        self._hosts.write_text(f"{self._names}\n{address} {NAME}\n")

    @contextlib.contextmanager
    def ruled(self, rules: Sequence[str]) -> Iterator[None]:
        """The router does this too, for as long as the block runs."""
        run(*inside("nat"), "nft", "-f", "-", stdin=FAULT.format(rules="\n ".join(rules)))
        yield
        run(*inside("nat"), "nft", "delete", "table", "inet", "fault")


def _veth(space: str, link: str, peer: str) -> None:
    run("ip", "-n", space, "link", "add", link, "type", "veth", "peer", "name", peer, "netns", "nat")


def _address(*ends: tuple[str, str, str]) -> None:
    for space, device, own in ends:
        run("ip", "-n", space, "addr", "add", f"{own}/30", "dev", device)
        run("ip", "-n", space, "link", "set", device, "up")
    run("ip", "-n", ends[0][0], "route", "add", "default", "via", ends[1][2])


class SlowLink:
    """Two TUN devices that this process joins, since not every kernel has netem: each packet is passed on, in order, when it is due."""

    def __init__(self, near: tuple[str, str], far: tuple[str, str]) -> None:
        self._delay_s = {"up": 0.0, "down": 0.0}
        self._changed = threading.Condition()
        here, there = _tun(*near), _tun(*far)
        for way, source, target in (("up", here, there), ("down", there, here)):
            waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()
            threading.Thread(target=self._take, args=(source, waiting), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(way, waiting, target), daemon=True).start()

    def slow(self, *, up_s: float, down_s: float) -> None:
        with self._changed:
            self._delay_s = {"up": up_s, "down": down_s}
            self._changed.notify_all()

    def _take(self, source: int, waiting: queue.Queue[tuple[float, bytes]]) -> None:
        while True:
            packet = os.read(source, 65536)
            waiting.put((time.monotonic(), packet))

    def _pass_on(self, way: str, waiting: queue.Queue[tuple[float, bytes]], target: int) -> None:
        while True:
            came, packet = waiting.get()
            with self._changed:
                while (left := came + self._delay_s[way] - time.monotonic()) > 0:
                    self._changed.wait(left)
            with contextlib.suppress(OSError):  # the other end is not up yet
                os.write(target, packet)


def _tun(device: str, space: str) -> int:
    made = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(made, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    run("ip", "link", "set", device, "netns", space)
    return made
