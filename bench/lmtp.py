"""A client of LMTP and SMTP that is cheap enough to be no limit: commands pipelined, one session after another in one loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.mails import NUMBERS, mail

SENDER = "a@example.net"


class Client:
    """One session. `where` is a unix socket that speaks LMTP, or a TCP address that speaks SMTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._identified = reader, writer, False

    @classmethod
    async def to(cls, where: Path | tuple[str, int]) -> Client:
        lmtp = isinstance(where, Path)
        if isinstance(where, Path):
            self = cls(*await asyncio.open_unix_connection(where))
        else:
            self = cls(*await asyncio.open_connection(*where))
        await self._reply()
        self._writer.write(b"LHLO bench\r\n" if lmtp else b"EHLO bench\r\n")
        # As Postfix does: who takes it is told the queue id, and pays for what follows from that.
        self._identified = b"XFORWARD" in await self._reply()
        return self

    async def _reply(self) -> bytes:
        lines = [await self._reader.readline()]
        while lines[-1][3:4] == b"-":
            lines.append(await self._reader.readline())
        return b"".join(lines)

    async def send(self, number: int, recipients: Sequence[str]) -> None:
        """Returns when each recipient was answered 250."""
        commands = [f"MAIL FROM:<{SENDER}>", *(f"RCPT TO:<{each}>" for each in recipients), "DATA"]
        if self._identified:
            commands.insert(0, f"XFORWARD IDENT=4B{number:x}X{time.time_ns():x}")
        self._writer.write("".join(f"{each}\r\n" for each in commands).encode())
        for _ in commands:
            await self._reply()
        self._writer.write(mail(number, recipients[0]) + b".\r\n")
        answer = await self._reply()
        if not answer.startswith(b"250"):
            raise SystemExit(f"a mail was answered {answer!r}")

    def close(self) -> None:
        self._writer.close()


async def _session(where: Path | tuple[str, int], recipient: str, numbers: list[int]) -> None:
    client = await Client.to(where)
    for number in numbers:
        await client.send(number, [recipient])
    client.close()


def ingest(where: Path | tuple[str, int], recipient: str, mails: int, sessions: int = 20) -> float:
    """Mails a second."""
    shares = [[next(NUMBERS) for _ in range(mails // sessions)] for _ in range(sessions)]

    async def main() -> None:
        await asyncio.gather(*(_session(where, recipient, share) for share in shares))

    start = time.perf_counter()
    uvloop.run(main())
    return mails / (time.perf_counter() - start)
