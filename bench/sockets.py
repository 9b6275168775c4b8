"""Memory of an idle WebSocket tunnel on an edge: nginx's workers and the kernel's sockets. Needs root."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.hosts import restante
from bench.measure import line
from restante import resources
from restante.lab.lab import Lab
from restante.lab.machine import lab_directory
from restante.plan.sizing import TUNNEL_BYTES

TUNNELS = 400
HOLD = """
import asyncio, socket, ssl, sys
from contextlib import AsyncExitStack
from websockets.asyncio.client import connect

async def hold():
    context = ssl.create_default_context(cafile=sys.argv[1])
    options = {"ssl": context, "ping_interval": None, "compression": None}
    async with AsyncExitStack() as stack:
        for _ in range(int(sys.argv[2])):
            plain = socket.create_connection(("192.0.2.21", 443), 10)
            plain.setblocking(False)
            await stack.enter_async_context(connect("wss://agents.example.org/ws", sock=plain, **options))
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""
# Private memory of nginx's workers, and the kernel's socket memory of the host's network namespace, in bytes.
WEIGH = (
    "cat $(pgrep -f 'nginx: worker' | sed 's,.*,/proc/&/smaps_rollup,') | awk '/^Pss:/ {sum += $2} END {print sum * 1024}'; "
    "awk '/^TCP:/ {print $11 * 4096}' /proc/net/sockstat"
)


def main() -> None:
    spec = resources.examples() / "websocket-only.yml"
    with tempfile.TemporaryDirectory() as scratch:
        own = Path(scratch) / "restante.yml"
        own.write_text(spec.read_text().replace("agents: 500", "agents: 50000").replace("front:8080", "unix:/run/backend/s.sock")
            .replace("backend.py 8080", "backend.py /run/backend/s.sock").replace("[8080]", "[/run/backend/s.sock]"))  # fmt: skip
        (Path(scratch) / "backend").symlink_to(spec.parent / "backend")
        lab = Lab(lab_directory(own))
        try:
            restante("lab", "up", str(own))
            restante("deploy", str(own), "--lab")
            measure(lab)
        finally:
            lab.down()


def weigh(lab: Lab) -> int:
    return sum(int(float(word)) for word in lab.host("front").exec(["sh", "-c", WEIGH]).stdout.split())


def measure(lab: Lab) -> None:
    before = weigh(lab)
    argv = [*lab.prefix(), sys.executable, "-c", HOLD, str(lab.authority / "ca.pem"), str(TUNNELS)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        if not client.stdout or client.stdout.readline() != "held\n":
            raise SystemExit("the sockets could not be held")
        each = (weigh(lab) - before) / TUNNELS
    found = f"{each / 1024:.1f} KiB"
    line(f"an idle tunnel of nginx ({TUNNELS} held)", found, f"plan: {TUNNEL_BYTES >> 10} KiB", each <= TUNNEL_BYTES)
