"""The three stores on real hosts, side by side in one run: what Postfix takes per second, and a signal from one post host through
the other's socket at an edge. Needs root.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import inside
from bench.hosts import deployed, on
from bench.measure import Rounds, delays
from bench.processes import process
from restante import resources
from restante.lab.lab import Lab

MAILS, ROUNDS, LIMIT_S = 1500, 5, 120
INBOX, POST = "support@example.org", "post-1"
SQLITE, POSTGRESQL, CLUSTER = "SQLite", "PostgreSQL", "postgresql-ha"
HOST = {"ipv4": inside.SMTP[0], "os": "debian-13", "tiers": ["post"]}
SINGLE: dict[str, Any] = {
    "restante": 1, "domain": inside.DOMAIN, "agents": 200, "hosts": {POST: HOST}, "tls": {"lab": True},
    "inboxes": {"domains": ["example.org"], "predefined": ["support", "postmaster"]},
}  # fmt: skip
STORE = {"ipv4": "198.51.100.21", "os": "debian-13", "tiers": ["store"]}
SPECS = {
    SQLITE: json.dumps(SINGLE),
    POSTGRESQL: json.dumps(
        SINGLE | {"hosts": {POST: HOST, "store-1": STORE}, "store": {"engine": "postgresql", "lab": True}}
    ),
    CLUSTER: (resources.examples() / "ha.yml").read_text(),
}


def until(lab: Lab, host: str, script: str) -> None:
    end = time.monotonic() + LIMIT_S
    while lab.host(host).exec(["sh", "-c", script]).returncode:
        if time.monotonic() > end:
            raise SystemExit(f"on {host}, after {LIMIT_S} s, not yet: {script}")
        time.sleep(0.02)


def inside_of(lab: Lab, *words: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """`bench.inside`, in the lab's network."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [*lab.prefix(), sys.executable, "-m", inside.__name__, *words]
    return process(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def flood(lab: Lab) -> float:
    """Mails a second, from the first connection until Postfix's queue is empty."""
    start = time.perf_counter()
    with inside_of(lab, "flood", INBOX, str(MAILS)) as sender:
        if sender.wait():
            raise SystemExit("the sender failed")
    until(lab, POST, "! postqueue -j | grep -q .")
    return MAILS / (time.perf_counter() - start)


def ingestion(labs: dict[str, Lab]) -> None:
    for lab in labs.values():
        # One sender is all the world here.
        settings = " ".join(
            f"smtpd_client_{name}_limit=0" for name in ("connection_count", "connection_rate", "message_rate")
        )
        on(lab, POST, f"postconf -e {settings} && systemctl reload postfix")
    found = Rounds({name: partial(flood, lab) for name, lab in labs.items()}, ROUNDS)
    found.show(SQLITE)
    for name, peer in ((POSTGRESQL, SQLITE), (CLUSTER, POSTGRESQL), (CLUSTER, SQLITE)):
        found.compare(name, peer)
    for lab in labs.values():
        on(lab, POST, "restante ledger")


def signals(lab: Lab) -> None:
    """The post office that takes the mail is away while the socket is opened, so that it is the other's."""
    made = json.loads(on(lab, POST, f"restante token create bench --allow {INBOX}=receive,read --json"))
    on(lab, POST, "systemctl stop 'restante-*.socket' restante-server.service")
    with inside_of(lab, "signals", INBOX, str(lab.authority / "ca.pem"), made["token"]) as agent:
        assert agent.stdin
        assert agent.stdout
        agent.stdout.readline()
        on(lab, POST, "systemctl start 'restante-*.socket' restante-server.service")
        until(lab, POST, "curl -fs --unix-socket /run/restante/admin.sock http://localhost/readyz && postqueue -f")
        until(lab, POST, "! postqueue -j | grep -q .")
        print(file=agent.stdin, flush=True)
        found = json.loads(agent.stdout.readline())
    delays(f"{CLUSTER}, 250 of one host to the other's signal, by an edge", found)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        labs = {
            name: stack.enter_context(deployed(Path(scratch) / f"{name}.yml", text)) for name, text in SPECS.items()
        }
        signals(labs[CLUSTER])
        ingestion(labs)


if __name__ == "__main__":
    main()
