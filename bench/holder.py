"""Many WebSockets in a process of their own: `python -m bench.holder PORT COUNT [TOKENS]`, each on an inbox of its own and,
as agents do, with a token of its own: TOKENS is a file of as many lines.

Says `held` when all are subscribed, and from then on `ADDRESS WHEN` for each signal. Written without a library of WebSockets:
thousands of its clients would take the core that the server is measured on.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import sys
import time
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

INTERVAL_S = 15.0
PING = json.dumps({"type": "ping", "id": 1, "ts": 0})
UPGRADE = (
    "GET /v1/ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OUFCQ0RFRg==\r\nAuthorization: Bearer {token}\r\n\r\n"
)


def inbox(number: int) -> str:
    return f"agent-{number}@example.org"


def framed(text: str) -> bytes:
    """A text frame under the mask of zeros, which leaves it as it is (RFC 6455, 5.3)."""
    content = text.encode()
    length = bytes([0x80 | len(content)]) if len(content) < 126 else b"\xfe" + struct.pack(">H", len(content))
    return b"\x81" + length + bytes(4) + content


class Socket(asyncio.Protocol):
    def __init__(self, number: int, token: str) -> None:
        self._number, self._token = number, token
        self.subscribed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(UPGRADE.format(token=self._token).encode())

    def data_received(self, data: bytes) -> None:
        if b'"type":"signal"' in data:
            print(inbox(self._number), time.perf_counter(), flush=True)
        elif b'"type":"hello"' in data:
            subscribe = {"type": "subscribe", "streams": [{"inbox": inbox(self._number)}]}
            self._transport.write(framed(json.dumps(subscribe)))
        elif b'"type":"subscribed"' in data:
            self.subscribed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        raise SystemExit(f"the socket of {inbox(self._number)} was closed: {exc}")

    def ping(self) -> None:
        self._transport.write(framed(PING))


async def main(port: int, count: int, tokens: list[str]) -> None:
    loop = asyncio.get_running_loop()
    held = []
    for number, token in enumerate(tokens or [""] * count):
        _, socket = await loop.create_connection(partial(Socket, number, token), "127.0.0.1", port)
        await socket.subscribed
        held.append(socket)
    print("held", flush=True)
    start = time.perf_counter()
    for turn, socket in enumerate(itertools.cycle(held)):
        await asyncio.sleep(max(0.0, start + turn * INTERVAL_S / count - time.perf_counter()))
        socket.ping()


if __name__ == "__main__":
    given = [token for path in sys.argv[3:] for token in Path(path).read_text().splitlines()]
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), given))
