"""A post office in a process of its own for the benchmarks: `python -m bench.office FOLDER ENGINE [URL]` prints where it is.

ENGINE: sqlite, postgresql, or none, where the LMTP side reads, scans and answers 250 without a store.
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

from bench.processes import process
from restante.server.app import running
from restante.server.settings import Inboxes, Server, Settings, StoreSettings
from restante.server.store.base import Arrival, Verdict


@dataclass(frozen=True)
class Running:
    lmtp: Path
    http: int
    token: str
    pid: int
    inbox: str

    @property
    def socket(self) -> str:
        """Where agents connect to."""
        return f"ws://127.0.0.1:{self.http}/v1/ws"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}


@contextmanager
def office(folder: Path, engine: str = "sqlite", url: str = "") -> Iterator[Running]:
    folder.mkdir(exist_ok=True)
    with process([sys.executable, "-m", "bench.office", str(folder), engine, url], stdout=subprocess.PIPE) as running:
        assert running.stdout
        said = json.loads(running.stdout.readline())
        yield Running(folder / "lmtp", said["http"], said["token"], running.pid, inbox_of(folder))


def inbox_of(folder: Path) -> str:
    return f"{folder.name}@example.org"


def settings(folder: Path, engine: str = "sqlite", url: str = "") -> Settings:
    kept = StoreSettings(engine="postgresql", url=url) if engine == "postgresql" else StoreSettings(free_space_floor=0)
    inboxes = Inboxes(domains=("example.org",), predefined=(inbox_of(folder),), quota_bytes=1 << 40)
    return Settings(
        server=Server(host=folder.name, domain="mail.example.org", data=folder), store=kept, inboxes=inboxes
    )


def _listening(folder: Path) -> dict[str, list[socket.socket]]:
    lmtp = socket.socket(socket.AF_UNIX)
    lmtp.bind(str(folder / "lmtp"))
    (folder / "lmtp").chmod(0o666)  # Postfix's own user connects
    return {"lmtp": [lmtp], "http": [socket.create_server(("127.0.0.1", 0), backlog=4096)]}


async def main(folder: Path, engine: str, url: str) -> None:
    sockets = _listening(folder)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with running(settings(folder, engine, url), sockets) as made:
        if engine == "none":
            made.post.store.ingest = _nothing  # type: ignore[method-assign]
        token = (await made.post.store.add_token("bench", admin=True, scopes={}))[0]
        print(json.dumps({"http": sockets["http"][0].getsockname()[1], "token": token}), flush=True)
        await stopped.wait()


async def _nothing(arrival: Arrival) -> list[Verdict]:
    return [Verdict.stored] * len(arrival.recipients)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
