"""Memory of an idle WebSocket tunnel on an edge: nginx's workers and the kernel's sockets; with a program on the same host behind it,
and with a post office on another, by TLS. Needs root.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.hosts import deployed, on
from bench.measure import line
from restante import resources
from restante.lab.lab import Lab
from restante.plan.sizing import BEHIND_BYTES, TUNNEL_BYTES

TUNNELS = 400
HOLD = """
import asyncio, socket, ssl, sys
from contextlib import AsyncExitStack
from websockets.asyncio.client import connect

async def hold():
    context = ssl.create_default_context(cafile=sys.argv[1])
    headers = {"Authorization": f"Bearer {sys.argv[4]}"}
    options = {"ssl": context, "ping_interval": None, "compression": None, "additional_headers": headers}
    async with AsyncExitStack() as stack:
        for _ in range(int(sys.argv[2])):
            plain = socket.create_connection(("192.0.2.21", 443), 10)
            plain.setblocking(False)
            await stack.enter_async_context(connect(f"wss://agents.example.org{sys.argv[3]}", sock=plain, **options))
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(hold())
"""
# Private memory of nginx's workers, and the kernel's socket memory of the host's network namespace, in bytes.
WEIGH = (
    "cat $(pgrep -f 'nginx: worker' | sed 's,.*,/proc/&/smaps_rollup,') | awk '/^Pss:/ {sum += $2} END {print sum * 1024}'; "
    "awk '/^TCP:/ {print $11 * 4096}' /proc/net/sockstat"
)


POST = {
    "restante": 1, "domain": "agents.example.org", "agents": 1000, "tls": {"lab": True}, "inboxes": {"domains": ["example.org"]},
    "hosts": {
        "front": {"ipv4": "192.0.2.21", "os": "debian-13", "tiers": ["edge"]},
        "post-1": {"ipv4": "198.51.100.11", "os": "debian-13", "tiers": ["post"]},
    },
}  # fmt: skip


def main() -> None:
    example = resources.examples() / "websocket-only.yml"
    own = example.read_text().replace("agents: 500", "agents: 50000").replace("front:8080", "unix:/run/backend/s.sock")
    own = own.replace("backend.py 8080", "backend.py /run/backend/s.sock").replace("[8080]", "[/run/backend/s.sock]")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "backend").symlink_to(example.parent / "backend")
        with deployed(Path(scratch) / "beside.yml", own) as lab:
            measure(lab, "a program beside it", "/ws", "", TUNNEL_BYTES)
        with deployed(Path(scratch) / "behind.yml", json.dumps(POST)) as lab:
            token = on(lab, "post-1", "restante token create bench --admin")
            measure(lab, "a post office behind it", "/v1/ws", token, TUNNEL_BYTES + BEHIND_BYTES)


def weigh(lab: Lab) -> int:
    return sum(int(float(word)) for word in on(lab, "front", WEIGH).split())


def measure(lab: Lab, what: str, path: str, token: str, planned: int) -> None:
    before = weigh(lab)
    argv = [*lab.prefix(), sys.executable, "-c", HOLD, str(lab.authority / "ca.pem"), str(TUNNELS), path, token]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        if not client.stdout or client.stdout.readline() != "held\n":
            raise SystemExit("the sockets could not be held")
        each = (weigh(lab) - before) / TUNNELS
    found = f"{each / 1024:.1f} KiB"
    line(f"an idle tunnel of nginx, {what} ({TUNNELS} held)", found, f"plan: {planned >> 10} KiB", each <= planned)


if __name__ == "__main__":
    main()
