"""What `bench.stores` runs in a lab's network.

`python -m bench.inside flood INBOX MAILS` sends to the first post host. `signals INBOX AUTHORITY TOKEN` has an agent's socket at
the second edge too: it prints a line when that is subscribed, and, after one on its standard input, the seconds from each 250 to
its signal, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

import uvloop

from bench.delay import MAILS, after, heard, send
from bench.listeners import signals
from bench.lmtp import ingest

DOMAIN, EDGE, SMTP = "mail.example.org", "192.0.2.12", ("198.51.100.11", 25)


async def listen(inbox: str, authority: str, token: str) -> None:
    trust = ssl.create_default_context(cafile=authority)
    async with signals(f"wss://{DOMAIN}/v1/ws", token, inbox, host=EDGE, ssl=trust) as told:
        print("subscribed", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        accepted = await send(SMTP, [inbox], MAILS)
        await heard(told, accepted)
        print(json.dumps(after(accepted, told)), flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["flood", inbox, mails]:
            ingest(SMTP, inbox, int(mails))
        case ["signals", inbox, authority, token]:
            uvloop.run(listen(inbox, authority, token))
