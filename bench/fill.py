"""A store that holds a lot before its server starts, put there by the store's own ingestion in large transactions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.mails import NUMBERS, mail, subject
from bench.office import settings
from restante.server.app import open_store
from restante.server.store import inboxes, tokens
from restante.server.store.base import Arrival, InboxDraft, Scan
from restante.server.store.ingest import ingest
from restante.server.store.tx import Tx

CHUNK = 5000
SHORT = b"Short.\r\n"


def fill(folder: Path, engine: str, url: str, counts: dict[str, int], body: bytes = SHORT) -> None:
    """`counts`: how many messages each inbox is to hold."""
    folder.mkdir(exist_ok=True)
    uvloop.run(_fill(folder, engine, url, counts, body))


def grant(folder: Path, addresses: Sequence[str]) -> list[str]:
    """A token for each inbox, in a SQLite store."""
    return uvloop.run(_grant(folder, addresses))


async def _grant(folder: Path, addresses: Sequence[str]) -> list[str]:
    store = open_store(settings(folder))
    await store.start()
    made = {address: tokens.mint() for address in addresses}

    def add(tx: Tx) -> None:
        for address, (token_id, _, digest) in made.items():
            tokens.add(tx, token_id, digest, address, admin=False, scopes={address: ["receive"]})

    await store.write(add)
    await store.close()
    return [text for _, text, _ in made.values()]


async def _fill(folder: Path, engine: str, url: str, counts: dict[str, int], body: bytes) -> None:
    store = open_store(settings(folder, engine, url))
    await store.start()

    def create(tx: Tx) -> None:
        for address in counts:
            inboxes.create(tx, InboxDraft(address))

    await store.write(create)
    for address, count in counts.items():
        for start in range(0, count, CHUNK):
            arrivals = [_arrival(address, body) for _ in range(min(CHUNK, count - start))]
            await store.write(lambda tx, arrivals=arrivals: ingest(tx, arrivals, 1 << 40))
    await store.close()


def _arrival(address: str, body: bytes) -> Arrival:
    """As nobody looks for a repeat of it, it costs no look-up."""
    number = next(NUMBERS)
    scan = Scan("", subject(number), "a@example.net", automated=False, fingerprint=b"")
    return Arrival(mail(number, address, body), "a@example.net", (address,), None, scan)
