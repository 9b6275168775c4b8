"""Common practice: the library's pings, and its reconnect with backoff."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

HISTORY = os.open(
    Path(os.environ["STATE_DIRECTORY"], "events.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o644
)
AGENTS = int(os.environ.get("DRILL_AGENTS", "1"))


def say(what: str, **more: Any) -> None:
    event = {"at": time.monotonic(), "side": "common", "who": "agent", "what": what, **more}
    os.write(HISTORY, f"{json.dumps(event)}\n".encode())


async def handle(connection: ClientConnection, inbox: str) -> None:
    async for text in connection:
        subject = json.loads(text)["subject"]
        n = int(subject.split()[-1])
        say("handling", inbox=inbox, n=n)
        if subject.startswith("poison"):
            raise ValueError("an agent of the drill cannot stand this one")
        if subject.startswith("block"):
            time.sleep(50)
        await asyncio.sleep(2 if subject.startswith("slow") else 0.02)
        say("handled", inbox=inbox, n=n)


async def run(inbox: str) -> None:
    async for connection in connect(f"wss://common.drill.example/{inbox}"):
        say("up", inbox=inbox)
        with contextlib.suppress(ConnectionClosed):
            await handle(connection, inbox)
        say("down", inbox=inbox)


async def main() -> None:
    say("start", inbox="agent-1")
    await asyncio.gather(*(run(f"agent-{count + 1}") for count in range(AGENTS)))


asyncio.run(main())
