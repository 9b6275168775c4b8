"""A thousand agents are cut at once: they come back spread out, all of them, within the promised time."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from restante.client.figures import Figures
from restante.client.found import Found
from restante.client.http import Http
from restante.client.line import Line
from restante.client.settings import Settings
from restante.client.subscription import Subscription
from restante.plan.sizing import ACCEPTS_PER_SECOND

pytestmark = [pytest.mark.lab, pytest.mark.alone]
AGENTS, AWAY_S, BACK_S = 1000, 5, 90
SPREAD_S = AGENTS // ACCEPTS_PER_SECOND
INBOX = "support@example.org"
SERVE = f"""
import asyncio, json, socket, sys, uvloop
from pathlib import Path
from restante.server.app import running
from restante.server.settings import Inboxes, Server, Settings, Socket, StoreSettings
async def main():
    settings = Settings(server=Server(host="mx", domain="mail.example.org", data=Path(sys.argv[1])),
        socket=Socket(reconnect_spread_s={SPREAD_S}),
        store=StoreSettings(free_space_floor=0), inboxes=Inboxes(domains=("example.org",), predefined=("{INBOX}",)))
    sockets = {{"http": [socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=4096)]}}
    async with running(settings, sockets) as office:
        print((await office.post.store.add_token("agent", admin=True, scopes={{}}))[0], flush=True)
        await asyncio.Event().wait()
uvloop.run(main())
"""


def serve(folder: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder), str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, process.stdout.readline().strip()


class Herd:
    """Lines in one loop, and when each tried to connect."""

    def __init__(self, port: int, token: str) -> None:
        self.tries: list[float] = []
        settings = Settings(f"http://127.0.0.1:{port}", INBOX, token)
        self.lines = [self._line(settings) for _ in range(AGENTS)]
        self.tasks = [asyncio.ensure_future(line._run()) for line in self.lines]

    def _line(self, settings: Settings) -> Line:
        figures = Figures()
        line = Line(
            Http(settings.url, settings.token, 10), settings, Subscription(INBOX, figures, Found(figures)), figures
        )
        real = line._open

        async def open_(rung):  # type: ignore[no-untyped-def]
            self.tries.append(time.monotonic())
            return await real(rung)

        line._open = open_  # type: ignore[method-assign]
        return line

    async def all_up(self, limit_s: float) -> float:
        """Seconds until every one stands."""
        began = time.monotonic()
        while not all(line.up for line in self.lines):
            up = sum(line.up for line in self.lines)
            assert time.monotonic() < began + limit_s, f"{up} of {AGENTS} after {limit_s} s"
            await asyncio.sleep(0.05)
        return time.monotonic() - began


def plotted(tries: list[float], cut_at: float) -> str:
    """Attempts for each second after the cut."""
    each = Counter(int(at - cut_at) for at in tries)
    return "\n".join(f"{second:>3} s {each[second]:>5} {'#' * (each[second] // 5)}" for second in range(max(each) + 1))


def test_a_thousand_agents_come_back_spread_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    process, token = serve(tmp_path, port)

    async def work() -> None:
        nonlocal process
        herd = Herd(port, token)
        await herd.all_up(120)
        herd.tries.clear()
        cut_at = time.monotonic()
        process.kill()
        process.wait()
        await asyncio.sleep(AWAY_S)  # an outage
        process, _ = await asyncio.to_thread(serve, tmp_path, port)
        took = await herd.all_up(BACK_S)
        print(f"\nall {AGENTS} back {took:.1f} s after the server was\n{plotted(herd.tries, cut_at)}")
        each = Counter(int(at - cut_at) for at in herd.tries)
        first = [second for second in each if second <= SPREAD_S]
        assert max(each.values()) < 3 * ACCEPTS_PER_SECOND, (
            "no herd: second tries fall among late first ones, and no more"
        )
        assert each[0] < ACCEPTS_PER_SECOND / 4, "nobody comes at once"
        assert len(first) > SPREAD_S / 2
        assert len(herd.tries) < 8 * AGENTS
        for task in herd.tasks:
            task.cancel()
        await asyncio.gather(*herd.tasks, return_exceptions=True)

    try:
        asyncio.run(work())
    finally:
        process.kill()
        process.wait()
