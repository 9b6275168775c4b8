"""From the sender's 250 to the signal, at 50 mails a second: by LMTP alone, through Postfix beside IDLE, and across two hosts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import uvloop

from bench import mta, postgres
from bench.dovecot import dovecot
from bench.listeners import Told, idle, signals
from bench.lmtp import Client
from bench.mails import NUMBERS, subject
from bench.measure import delays
from bench.office import Running, office
from bench.processes import disk, lacking

MAILS, RATE = 550, 50
WARMING = 50  # while Postfix and Dovecot start their processes
PEER = "dovecot@example.org"


async def paced(count: int) -> AsyncIterator[int]:
    """Numbers of mails, each at its time: one that took long does not slow down the next."""
    start = time.perf_counter()
    for turn in range(count):
        await asyncio.sleep(max(0.0, start + turn / RATE - time.perf_counter()))
        yield next(NUMBERS)


async def send(where: Path | tuple[str, int], recipients: Sequence[str], mails: int) -> Told:
    """When each was answered 250."""
    client, accepted = await Client.to(where), {}
    async for number in paced(mails):
        await client.send(number, recipients)
        accepted[subject(number)] = time.perf_counter()
    client.close()
    return accepted


def after(accepted: Told, told: Told) -> list[float]:
    """Seconds. A signal may be read before the 250 is."""
    return [max(0.0, told[name] - when) for name, when in list(accepted.items())[WARMING:]]


async def heard(told: Told, accepted: Told) -> None:
    async with asyncio.timeout(30):
        while not accepted.keys() <= told.keys():
            await asyncio.sleep(0.01)


async def direct(into: Running, holder: Running) -> list[float]:
    """Mail into one server, the socket at another, or the same."""
    async with signals(holder.socket, holder.token, into.inbox) as told:
        accepted = await send(into.lmtp, [into.inbox], MAILS)
        await heard(told, accepted)
        return after(accepted, told)


async def beside(smtp: tuple[str, int], ours: Running, imap: int) -> tuple[list[float], list[float]]:
    """The same mails, ours and Dovecot's."""
    async with AsyncExitStack() as stack:
        told = await stack.enter_async_context(signals(ours.socket, ours.token, ours.inbox))
        async with idle(imap, PEER, MAILS) as peer:
            accepted = await send(smtp, [ours.inbox, PEER], MAILS)
        await heard(told, accepted)
        return after(accepted, told), after(accepted, peer.told())


def main() -> None:
    with disk() as folder, ExitStack() as stack:
        offices = {"SQLite": stack.enter_context(office(folder / "sqlite"))}
        if missing := postgres.lacking():
            print(f"left out: PostgreSQL; it needs {missing}")
        else:
            url = stack.enter_context(postgres.postgres(folder / "cluster")).database("delay")
            offices["PostgreSQL"] = stack.enter_context(office(folder / "postgresql", "postgresql", url))
            other = stack.enter_context(office(folder / "other", "postgresql", url))
            delays(
                "PostgreSQL, mail at one host, socket at another",
                uvloop.run(direct(offices["PostgreSQL"], other)),
                5,
                20,
            )
        for name, each in offices.items():
            delays(f"{name}, LMTP's 250 to the signal", uvloop.run(direct(each, each)), 5, 20)
        through_postfix(folder, offices)


def through_postfix(folder: Path, offices: dict[str, Running]) -> None:
    if missing := lacking(dovecot="dovecot-imapd and dovecot-lmtpd") or mta.lacking():
        print(f"left out: Postfix and Dovecot; they need {missing}")
        return
    with dovecot(folder / "dovecot") as peer:
        routes = {each.inbox: f"lmtp:unix:{each.lmtp}" for each in offices.values()} | {PEER: f"lmtp:unix:{peer.lmtp}"}
        with mta.postfix(folder / "postfix", routes) as sender:
            for name, each in offices.items():
                ours, theirs = uvloop.run(beside(("127.0.0.1", sender.port), each, peer.imap))
                delays(f"{name}, Postfix's 250 to the signal", ours, 5, 20)
                delays("Dovecot, the same mails, IDLE with its timer of 500 ms", theirs)


if __name__ == "__main__":
    main()
