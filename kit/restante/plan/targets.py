"""What each supported release ships, and the choices that follow. Dated data: Debian archive, November 2026."""

from __future__ import annotations

from dataclasses import dataclass

from restante.spec.hosts import Os


@dataclass(frozen=True)
class Target:
    """`postfix`: the unit of the mail system itself. `python`, `postgresql`: versions.

    `http2_directive`: nginx 1.25.1 made http2 a directive of its own. `restart_steps`: systemd 254 grows restart delays.
    """

    suite: str
    nginx: str
    systemd: int
    python: str
    postfix: str
    postgresql: str
    http2_directive: bool
    restart_steps: bool


TARGETS = {
    Os.debian_12: Target(
        "bookworm", "1.22", 252, "3.11", "postfix@-.service", "15", http2_directive=False, restart_steps=False
    ),
    Os.debian_13: Target(
        "trixie", "1.26", 257, "3.13", "postfix.service", "17", http2_directive=True, restart_steps=True
    ),
}
