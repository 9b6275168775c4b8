"""What the contract's tests share: a policy, mails, and the form of a scenario."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Coroutine
from typing import Any

from restante.server.store.base import Arrival, Inbox, Scan
from restante.server.store.retention import Policy
from restante.server.store.store import Store

Run = Callable[[Callable[[Store, Inbox], Coroutine[Any, Any, None]]], None]
POLICY = Policy(retention_s=30 * 86_400, quota_bytes=1 << 20, hop_retention_s=7 * 86_400)
NUMBERS = itertools.count(1)


def mail(*recipients: str, text: str = "hello", message_id: str = "", hop: str | None = None) -> Arrival:
    number = next(NUMBERS)
    raw = f"Subject: {number}\r\n\r\n{text}\r\n".encode()
    fingerprint = f"{message_id}{text}".encode() if message_id else b""
    scan = Scan(
        message_id or f"<{number}@example.org>", str(number), "a@example.net", automated=False, fingerprint=fingerprint
    )
    return Arrival(raw, "a@example.net", recipients, hop, scan)


def database(postgresql: str) -> str:
    """A new one on the server; its name."""
    name = f"contract{next(NUMBERS)}"
    subprocess.run(["psql", f"{postgresql} dbname=postgres", "-qc", f"CREATE DATABASE {name}"], check=True)
    return name
