"""Common practice: the same feed from well-kept libraries, whose defaults ping every 20 s and wait 20 s for the answer. No store."""

from __future__ import annotations

import asyncio
import email
import json
from typing import Any

from aiosmtpd.smtp import SMTP
from websockets.asyncio.server import ServerConnection, broadcast, serve

OPEN: dict[str, set[ServerConnection]] = {}


class Handler:
    async def handle_DATA(self, _: object, __: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        subject = email.message_from_bytes(envelope.content)["Subject"]
        inbox = envelope.rcpt_tos[0].partition("@")[0]
        broadcast(OPEN.get(inbox, set()), json.dumps({"subject": subject}))
        return "250 passed on"


async def feed(connection: ServerConnection) -> None:
    assert connection.request
    mine = OPEN.setdefault(connection.request.path[1:], set())
    mine.add(connection)
    try:
        await connection.wait_closed()
    finally:
        mine.discard(connection)


async def main() -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: SMTP(Handler()), port=2502)
    async with serve(feed, "127.0.0.1", 8002) as server:
        await server.serve_forever()


asyncio.run(main())
