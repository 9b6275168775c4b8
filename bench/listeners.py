"""Who waits for mail, and notes when it was told of each: a WebSocket of ours, and IDLE of IMAP."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets

from bench.dovecot import PASSWORD

Told = dict[str, float]  # subject -> when
EXISTS = re.compile(rb"\* (\d+) EXISTS")
SUBJECT = re.compile(rb"(?m)^Subject: (.*)\r$")


@asynccontextmanager
async def signals(uri: str, token: str, inbox: str, **options: Any) -> AsyncIterator[Told]:
    """`options`: websockets' own."""
    headers = {"Authorization": f"Bearer {token}"}
    told: Told = {}

    async def listen() -> None:
        async for text in ws:
            frame = json.loads(text)
            if frame["type"] == "signal":
                told[frame["subject"]] = time.perf_counter()

    async with websockets.connect(
        uri, additional_headers=headers, compression=None, ping_interval=None, **options
    ) as ws:
        await ws.send(json.dumps({"type": "subscribe", "streams": [{"inbox": inbox}]}))
        while json.loads(await ws.recv())["type"] != "subscribed":
            pass
        listening = asyncio.create_task(listen())
        yield told
        listening.cancel()


class Imap:
    """IDLE tells how many mails there are, not which: their subjects are asked for when all is over."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._when: dict[int, float] = {}

    async def _ask(self, command: str) -> bytes:
        self._writer.write(f"a {command}\r\n".encode())
        said = b""
        while not (line := await self._reader.readline()).startswith(b"a "):
            said += line
        if not line.startswith(b"a OK"):
            raise SystemExit(f"Dovecot answered {line!r}")
        return said

    async def start(self, user: str) -> None:
        await self._reader.readline()
        await self._ask(f"LOGIN {user} {PASSWORD}")
        self._seen = _exists(await self._ask("SELECT INBOX"))
        self._writer.write(b"a IDLE\r\n")
        await self._reader.readline()

    async def listen(self, mails: int) -> None:
        first, end = self._seen, self._seen + mails
        while self._seen < end:
            now = _exists(await self._reader.readline())
            self._when |= dict.fromkeys(range(self._seen + 1, now + 1), time.perf_counter())
            self._seen = max(self._seen, now)
        self._writer.write(b"DONE\r\n")
        while not (await self._reader.readline()).startswith(b"a "):
            pass
        self._subjects = SUBJECT.findall(
            await self._ask(f"FETCH {first + 1}:{end} (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        )

    def told(self) -> Told:
        return {subject.decode(): when for subject, when in zip(self._subjects, self._when.values(), strict=True)}


def _exists(said: bytes) -> int:
    return max((int(number) for number in EXISTS.findall(said)), default=0)


@asynccontextmanager
async def idle(port: int, user: str, mails: int) -> AsyncIterator[Imap]:
    """Leaves when all mails were told."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    imap = Imap(reader, writer)
    await imap.start(user)
    listening = asyncio.create_task(imap.listen(mails))
    yield imap
    await asyncio.wait_for(listening, 30)
    writer.close()
