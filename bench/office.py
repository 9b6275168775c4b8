"""A post office in a process of its own for the benchmarks: `python -m bench.office FOLDER ENGINE [URL]` prints its ports and a token.

ENGINE: sqlite, postgresql, or none, where the LMTP side answers 250 without a store.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from restante.server.app import running
from restante.server.settings import Inboxes, Server, Settings, StoreSettings
from restante.server.store.base import Arrival, Verdict

INBOX = "bench@example.org"


@dataclass(frozen=True)
class Running:
    lmtp: int
    http: int
    token: str
    pid: int


@contextmanager
def office(folder: Path, engine: str, url: str = "") -> Iterator[Running]:
    argv = [sys.executable, "-m", "bench.office", str(folder), engine, url]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Running(**json.loads(process.stdout.readline()), pid=process.pid)
        finally:
            process.terminate()


async def main(folder: Path, engine: str, url: str) -> None:
    kept = StoreSettings(engine="postgresql", url=url) if engine == "postgresql" else StoreSettings(free_space_floor=0)
    inboxes = Inboxes(domains=("example.org",), predefined=(INBOX,), quota_bytes=1 << 40)
    settings = Settings(server=Server(host="mx", domain="mail.example.org", data=folder), store=kept, inboxes=inboxes)
    sockets = {name: [socket.create_server(("127.0.0.1", 0), backlog=4096)] for name in ("lmtp", "http")}
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with running(settings, sockets) as made:
        if engine == "none":
            made.post.store.ingest = _nothing  # type: ignore[method-assign]
        token = (await made.post.store.add_token("bench", admin=True, scopes={}))[0]
        ports = {name: found[0].getsockname()[1] for name, found in sockets.items()}
        print(json.dumps({**ports, "token": token}), flush=True)
        await stopped.wait()


async def _nothing(arrival: Arrival) -> list[Verdict]:
    return [Verdict.stored] * len(arrival.recipients)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
