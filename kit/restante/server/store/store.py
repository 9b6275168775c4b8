"""The store as the rest of the server knows it: asynchronous verbs over an engine's transactions."""

from __future__ import annotations

import abc
import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from restante.server.store import deliver, inboxes, messages, retention, tokens
from restante.server.store.base import (
    Arrival,
    Batch,
    Consumer,
    DeadLetter,
    FreeSpace,
    Handle,
    HandleResult,
    Inbox,
    InboxDraft,
    Receive,
    Summary,
    Token,
    Verdict,
)
from restante.server.store.clock import Clock
from restante.server.store.recent import Recent
from restante.server.store.tx import Tx, value

T = TypeVar("T")
Heads = Mapping[int, int]


class Store(abc.ABC):
    """`on_heads` is called on the event loop after a commit, with the new head of each inbox that grew."""

    engine: str

    def __init__(self, policy: retention.Policy) -> None:
        self.policy = policy
        self.clock = Clock()
        self.on_heads: Callable[[Heads], None] = lambda _: None
        self.recent = Recent()
        self._version: Any = None

    def _grew(self, stored: Sequence[Summary]) -> None:
        """On the event loop, after the commit that holds them."""
        if stored:
            self.recent.add(stored)
            self.on_heads({each.inbox_id: each.seq for each in stored})

    @abc.abstractmethod
    async def start(self) -> None:
        """Open, and migrate; nothing when that was done. Raises StoreError when it can't be done now."""

    @abc.abstractmethod
    async def close(self) -> None:
        """What was accepted is committed; then nothing runs any more."""

    @abc.abstractmethod
    def ingest(self, arrival: Arrival) -> Awaitable[list[Verdict]]:
        """Returns once a commit holds the arrival on disk. A commit whose outcome is unknown is `unavailable`."""

    @abc.abstractmethod
    def write(self, work: Callable[[Tx], T]) -> Awaitable[T]:
        """`work` in a transaction, committed when this returns. It may run again: it must do nothing else."""

    @abc.abstractmethod
    def read(self, work: Callable[[Tx], T], *, apart: bool = False) -> Awaitable[T]:
        """`work` on what is committed. `apart`: not behind other readers, so that it shows whether the store answers."""

    @abc.abstractmethod
    async def durability(self) -> Mapping[str, str]:
        """The engine's settings that make a commit durable, as they are in force."""

    @abc.abstractmethod
    async def free_space(self) -> FreeSpace | None:
        """Room where the store is; None when nobody tells: an external database is watched by its operator."""

    async def handle_key(self) -> bytes:
        """The key that signs receipt handles: made once, kept with the mail it opens."""

        def work(tx: Tx) -> bytes:
            tx.run("insert_meta", key="handle_key", value=secrets.token_hex(32))
            return bytes.fromhex(value(tx, "meta", key="handle_key"))

        return await self.write(work)

    async def new_epoch(self) -> None:
        """History was rewritten: every cursor from before is told so."""
        await self.write(lambda tx: tx.run("new_epochs", epoch=inboxes.new_epoch()))

    async def inbox(self, address: str) -> Inbox:
        return await self.read(lambda tx: inboxes.get(tx, address))

    async def inboxes(self, after: int, limit: int) -> list[Inbox]:
        return await self.read(lambda tx: inboxes.page(tx, after, limit))

    async def create_inbox(self, draft: InboxDraft) -> tuple[Inbox, bool]:
        return await self.write(lambda tx: inboxes.create(tx, draft))

    async def update_inbox(self, address: str, changes: Mapping[str, Any]) -> Inbox:
        return await self.write(lambda tx: inboxes.update(tx, address, changes))

    async def delete_inbox(self, address: str, *, force: bool) -> int:
        return await self.write(lambda tx: inboxes.delete(tx, address, force=force))

    async def recipients(self) -> list[tuple[str, int, int | None]]:
        """(address, used bytes, quota): what Postfix is to know."""
        return await self.read(lambda tx: [(row[0], row[1], row[2]) for row in tx.all("inbox_recipients")])

    async def consumers(self, address: str) -> list[Consumer]:
        return await self.read(lambda tx: inboxes.consumers(tx, address))

    async def create_consumer(self, address: str, name: str, start: str | int) -> Consumer:
        return await self.write(lambda tx: inboxes.create_consumer(tx, address, name, start))

    async def delete_consumer(self, address: str, name: str) -> None:
        await self.write(lambda tx: inboxes.delete_consumer(tx, address, name))

    async def receive(self, inbox_id: int, request: Receive) -> Batch:
        return await self.write(lambda tx: deliver.receive(tx, inbox_id, request))

    async def anything_ready(self, inbox_id: int, consumer: str) -> bool:
        """Whether a receive would bring something now."""
        return bool(await self.read(lambda tx: tx.one("anything_ready", inbox_id=inbox_id, name=consumer, now=tx.now)))

    async def ack(self, inbox_id: int, handles: Sequence[Handle]) -> list[HandleResult]:
        return await self.write(lambda tx: deliver.acknowledge(tx, inbox_id, handles))

    async def nack(
        self,
        inbox_id: int,
        handles: Sequence[Handle],
        *,
        delay_s: float,
        reason: str | None,
        attempts: int,
        counted: bool,
    ) -> list[HandleResult]:
        return await self.write(
            lambda tx: deliver.put_back(
                tx, inbox_id, handles, delay_s=delay_s, reason=reason, attempts=attempts, counted=counted
            )
        )

    async def extend(self, inbox_id: int, handles: Sequence[Handle], lease_s: float) -> list[HandleResult]:
        return await self.write(lambda tx: deliver.extend(tx, inbox_id, handles, lease_s))

    async def seek(self, inbox_id: int, consumer: str, seq: int) -> None:
        await self.write(lambda tx: deliver.seek(tx, inbox_id, consumer, seq))

    async def dead_letters(self, inbox_id: int, after: int, limit: int) -> list[DeadLetter]:
        return await self.read(lambda tx: messages.dead_letters(tx, inbox_id, after, limit))

    async def redrive(self, inbox_id: int, seqs: Sequence[int] | None, since: float, until: float) -> int:
        """The named dead letters, or those received in [since, until)."""
        return await self.write(lambda tx: deliver.redrive(tx, _chosen(tx, inbox_id, seqs, since, until)))

    async def discard(self, inbox_id: int, seqs: Sequence[int] | None, since: float, until: float) -> int:
        """The same ones are settled."""
        return await self.write(lambda tx: deliver.discard(tx, _chosen(tx, inbox_id, seqs, since, until)))

    async def bury_spent(self, attempts: int) -> int:
        return await self.write(lambda tx: deliver.bury_spent(tx, attempts))

    async def head(self, inbox_id: int) -> tuple[str, int, int]:
        return await self.read(lambda tx: messages.head(tx, inbox_id))

    async def moved(self, inbox_ids: Iterable[int], known: Mapping[int, tuple[str, int]]) -> dict[int, tuple[str, int]]:
        """Inbox -> (epoch, head), where that is not what is known. It is asked every few seconds, for all inboxes that anybody waits for:
        where nothing was committed since it was asked last, none can have moved.
        """
        ids = list(inbox_ids)

        def work(tx: Tx) -> tuple[Any, dict[int, tuple[str, int]]]:
            version = value(tx, "version")
            return version, {} if version == self._version else messages.moved(tx, ids, known)

        self._version, found = await self.read(work, apart=True)
        return found

    async def messages(self, inbox_id: int, after: int, limit: int, upto: int = 2**62) -> list[Summary]:
        return await self.read(lambda tx: messages.page(tx, inbox_id, after, limit, upto))

    async def first_since(self, inbox_id: int, since: float) -> int:
        return await self.read(lambda tx: messages.first_since(tx, inbox_id, since))

    async def message(self, inbox_id: int, seq: int) -> Summary:
        return await self.read(lambda tx: messages.get(tx, inbox_id, seq))

    async def bodies(self, ids: Sequence[int]) -> dict[int, bytes]:
        return await self.read(lambda tx: messages.bodies(tx, ids))

    async def add_token(self, name: str, *, admin: bool, scopes: Mapping[str, Sequence[str]]) -> tuple[str, Token]:
        """The token's text, that nobody sees again, and what is kept of it."""
        token_id, text, digest = tokens.mint()
        return text, await self.write(lambda tx: tokens.add(tx, token_id, digest, name, admin=admin, scopes=scopes))

    async def authenticate(self, text: str) -> Token | None:
        return await self.read(lambda tx: tokens.authenticate(tx, text))

    async def tokens(self) -> list[Token]:
        return await self.read(tokens.everyone)

    async def revoke_token(self, token_id: str) -> Token:
        return await self.write(lambda tx: tokens.revoke(tx, token_id))

    async def revoked_tokens(self, since: float) -> dict[str, float]:
        """Ids, and when each was revoked."""
        return await self.read(lambda tx: {row[0]: row[1] for row in tx.all("revoked_tokens", since=since)}, apart=True)

    async def use_tokens(self, when: Mapping[str, float]) -> None:
        await self.write(lambda tx: tokens.used(tx, when))

    async def retain(self) -> int:
        """One round of retention over all inboxes, in chunks that ingestion passes between; messages removed."""
        removed, after = 0, 0
        while ids := await self.read(partial(retention.inboxes, after=after)):
            for inbox_id in ids:
                while gone := await self.write(partial(retention.settle, inbox_id=inbox_id, policy=self.policy)):
                    removed += gone
                    await asyncio.sleep(0)
            after = ids[-1]
        await self.write(lambda tx: retention.purge(tx, self.policy))
        return removed

    async def totals(self) -> dict[str, int]:
        """Messages stored and kept; deliveries of all consumers: offered, new, leased, waiting, dead. The rest is acknowledged."""
        names = ("stored", "new", "leased", "waiting", "dead", "kept", "offered")
        row = await self.read(lambda tx: tx.one("totals", now=tx.now))
        return dict(zip(names, (int(number) for number in row or (0,) * len(names)), strict=True))


def _chosen(
    tx: Tx, inbox_id: int, seqs: Sequence[int] | None, since: float, until: float
) -> list[tuple[int, int, int, float]]:
    tx.all("lock_consumers", inbox_id=inbox_id)
    rows = tx.all("dead_letters_between", inbox_id=inbox_id, since=since, until=until)
    return [(row[0], row[1], row[2], row[3]) for row in rows if seqs is None or row[1] in seqs]
