"""The three things a release needs from a running system, and the root below which it works."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What the command had to say about it, for the operator."""
        return (self.err.strip() or self.out.strip() or f"exit status {self.code}, and it printed nothing").strip()


class System:
    """The live system. Tests give another."""

    def run(self, argv: Sequence[str], timeout: float = 60) -> Result:
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
        try:
            done = subprocess.run(
                list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env=environment, check=False
            )
        except FileNotFoundError:
            return Result(127, "", f"{argv[0]}: not found on this host")
        except subprocess.TimeoutExpired:
            return Result(124, "", f"{argv[0]}: no end within {timeout:g} s")
        return Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))

    def connects(self, address: str, timeout: float = 1) -> bool:
        """Does `address` accept a connection? `unix:/path`, `host:port` or `[v6]:port`; a wildcard means loopback."""
        try:
            if address.startswith("unix:"):
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.settimeout(timeout)
                    peer.connect(address.removeprefix("unix:"))
                return True
            host, _, port = address.rpartition(":")
            host = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
            socket.create_connection((host, int(port)), timeout=timeout).close()
        except OSError:
            return False
        return True

    def now(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Host:
    """A tree and the system that runs in it."""

    root: Path = Path("/")
    system: System = field(default_factory=System)

    def path(self, destination: str) -> Path:
        return self.root / destination.lstrip("/")
