"""What uvicorn and websockets take of 10,000 sockets by themselves: an application that answers each frame with the same text.

`python -m bench.bare` prints its port. It knows no inbox, no token and no store, so a post office on them can't take less.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import uvicorn

SAID = [{"type": kind} for kind in ("hello", "subscribed")]
PONG = {"type": "pong", "id": 1, "ts": 0, "heads": {"agent-1@example.org": "0123abcd:0"}}
TEXTS = [json.dumps(each, separators=(",", ":")) for each in (*SAID, PONG)]


async def application(_: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    following = iter(TEXTS)
    text = next(following)
    while True:
        await send({"type": "websocket.send", "text": text})
        if (await receive())["type"] == "websocket.disconnect":
            return
        text = next(following, TEXTS[-1])


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listening.getsockname()[1], flush=True)
    own = uvicorn.Config(
        application, ws="websockets-sansio", ws_ping_interval=None, ws_per_message_deflate=False, lifespan="off",
        log_level="error",
    )  # fmt: skip
    uvicorn.Server(own).run([listening])


if __name__ == "__main__":
    main()
