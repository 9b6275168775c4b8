"""Hold one WebSocket through an edge and say what becomes of it: `held_socket.py ADDRESS DOMAIN CA_FILE`.

Prints "open", then "alive" for every pong, and "closed" when the edge ends it. Two pings a second, 90 s at most.
"""

import asyncio
import socket
import ssl
import sys
import time

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def hold(address: str, domain: str, ca: str) -> None:
    plain = socket.create_connection((address, 443), 5)
    plain.setblocking(False)
    context = ssl.create_default_context(cafile=ca)
    async with connect(f"wss://{domain}/ws", sock=plain, ssl=context, ping_interval=None, compression=None) as held:
        print("open", flush=True)
        deadline = time.monotonic() + 90
        try:
            while time.monotonic() < deadline:
                await asyncio.wait_for(await held.ping(), 5)
                print("alive", flush=True)
                await asyncio.sleep(0.5)
        except ConnectionClosed:
            print("closed", flush=True)


asyncio.run(hold(*sys.argv[1:]))
