"""The same mailbox for asyncio. Its verbs run in threads of their own, so neither a slow answer nor a busy loop holds the other."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from restante.client.delivery import Delivery
from restante.client.figures import Figures, Health
from restante.client.mailbox import Mailbox
from restante.client.message import Attachment, Message

T = TypeVar("T")
THREADS = 4  # one may wait for mail, the others tell what became of it


class AsyncDelivery:
    """`Delivery` with `async with`. Acknowledging does not wait; giving back does."""

    def __init__(self, inner: Delivery, run: Callable[..., Awaitable[Any]]) -> None:
        self._inner, self._run = inner, run
        self.message, self.attempt, self.first_received_at = inner.message, inner.attempt, inner.first_received_at

    def ack(self) -> None:
        self._inner.ack()

    async def nack(
        self, delay_s: float | None = None, reason: str | None = None, *, count_attempt: bool = True
    ) -> None:
        await self._run(functools.partial(self._inner.nack, delay_s, reason, count_attempt=count_attempt))

    async def extend(self, lease_s: float) -> None:
        await self._run(self._inner.extend, lease_s)

    async def __aenter__(self) -> AsyncDelivery:
        self._inner.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return self._inner.__exit__(kind, error, trace)
        return bool(await asyncio.shield(self._run(self._inner.__exit__, kind, error, trace)))


class AsyncMailbox:
    """`Mailbox`, with the same arguments and verbs."""

    def __init__(
        self, url: str | None = None, *, inbox: str | None = None, token: str | None = None, **options: Any
    ) -> None:
        self._box = Mailbox(url, inbox=inbox, token=token, **options)
        self._threads = ThreadPoolExecutor(THREADS, "restante-verb")

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def consume(self) -> AsyncIterator[AsyncDelivery]:
        """As `Mailbox.consume`; SIGTERM is the loop's own affair: cancel the task, and what it held is given back uncounted."""
        self._box.begin()
        try:
            while batch := await self._run(self._box.next_batch):
                for each in batch:
                    yield AsyncDelivery(each, self._run)
        finally:
            self._box.stop()
            await asyncio.shield(self._run(self._box.end))

    async def receive(self, max_messages: int = 10, wait_s: float = 0) -> list[AsyncDelivery]:
        return [AsyncDelivery(each, self._run) for each in await self._run(self._box.receive, max_messages, wait_s)]

    async def wait_for(
        self,
        *,
        from_: str = "",
        subject: str = "",
        timeout: float = 60,
        since: str | float | None = None,
    ) -> Message:
        wait = functools.partial(self._box.wait_for, from_=from_, subject=subject, timeout=timeout, since=since)
        return await self._run(wait)

    async def messages(
        self, *, cursor: str | None = None, since: float | None = None, limit: int | None = None
    ) -> AsyncIterator[Message]:
        found = self._box.messages(cursor=cursor, since=since, limit=limit)
        while (message := await self._run(next, found, None)) is not None:
            yield message

    async def head(self) -> str:
        return await self._run(self._box.head)

    async def message(self, message_id: str) -> Message:
        return await self._run(self._box.message, message_id)

    async def raw(self, message_id: str) -> bytes:
        return await self._run(self._box.raw, message_id)

    async def save_attachment(self, message: Message, attachment: Attachment, path: str | Path) -> Path:
        return await self._run(self._box.save_attachment, message, attachment, path)

    async def create_inbox(self, client_id: str, *, username: str | None = None, **settings: Any) -> Mapping[str, Any]:
        return await self._run(functools.partial(self._box.create_inbox, client_id, username=username, **settings))

    async def redrive(self, ids: Sequence[str] | None = None) -> int:
        return await self._run(self._box.redrive, ids)

    async def listen(self, callback: Callable[[Mapping[str, Any]], None]) -> None:
        """`callback` is called in this loop."""
        loop = asyncio.get_running_loop()
        try:
            await self._run(self._box.listen, lambda signal: loop.call_soon_threadsafe(callback, signal))
        finally:
            self._box.stop()

    def health(self) -> Health:
        return self._box.health()

    @property
    def figures(self) -> Figures:
        return self._box.figures

    def serve_metrics(self, port: int, address: str = "127.0.0.1") -> None:
        self._box.serve_metrics(port, address)

    def stop(self) -> None:
        self._box.stop()

    async def close(self) -> None:
        await self._run(self._box.close)
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncMailbox:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
