"""Hold one WebSocket through an edge and say what becomes of it: `held_socket.py ADDRESS DOMAIN CA_FILE`.

Prints "open", then "alive" for every pong, and "closed" when the edge ends it. Two pings a second, 90 s at most.
"""

import socket
import ssl
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

address, domain, ca = sys.argv[1:]
plain = socket.create_connection((address, 443), 5)
context = ssl.create_default_context(cafile=ca)
with connect(f"wss://{domain}/ws", sock=plain, ssl=context, ping_interval=None, compression=None) as held:
    print("open", flush=True)
    deadline = time.monotonic() + 90
    try:
        while time.monotonic() < deadline and held.ping().wait(5):
            print("alive", flush=True)
            time.sleep(0.5)
    except ConnectionClosed:
        print("closed", flush=True)
