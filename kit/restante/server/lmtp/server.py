"""The edge of the session: an asyncio protocol that moves bytes, and waits for the store's verdicts."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

from restante.server.lmtp.session import Session, State, Transaction
from restante.server.mail.scan import scan
from restante.server.store.base import Arrival, Verdict

log = logging.getLogger("restante.lmtp")
Deliver = Callable[[Arrival], Awaitable[Sequence[Verdict]]]


class _Connection(asyncio.Protocol):
    def __init__(self, server: LmtpServer) -> None:
        self._server = server
        self.session = Session(server.host, server.size_limit, smtp=server.smtp)
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._server.connections.add(self)
        self._idle = asyncio.get_running_loop().call_later(self._server.idle_s, self.leave)
        self._transport.write(self.session.greeting())

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._server.idle_s, self.leave)
        self._send(self.session.receive(data))

    def _send(self, reply: bytes) -> None:
        if reply:
            self._transport.write(reply)
        if self.session.pending:
            self._transport.pause_reading()  # what is pipelined waits in the kernel
            self.task = asyncio.get_running_loop().create_task(self._deliver(self.session.pending))
        elif self.session.state is State.closed:
            self._transport.close()

    async def _deliver(self, transaction: Transaction) -> None:
        verdicts = await self._server.verdicts(transaction)
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._send(self.session.answer(verdicts))

    def leave(self) -> None:
        """When nothing is under way: now; else after the reply."""
        self.session.draining = True
        if not self.session.pending and self.session.state not in {State.data, State.rcpt, State.mail}:
            self._transport.write(b"421 4.3.2 the server closes this connection\r\n")
            self._transport.close()


class LmtpServer:
    """`deliver` is the store's ingest. `host` is the first part of each hop identity. `smtp` serves SMTP instead."""

    def __init__(
        self, deliver: Deliver, *, host: str, size_limit: int, idle_s: float = 300, smtp: bool = False
    ) -> None:
        self.deliver, self.host, self.size_limit, self.idle_s, self.smtp = deliver, host, size_limit, idle_s, smtp
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve on a listening socket, of either family."""
        loop, sock_is_unix = asyncio.get_running_loop(), sock.family == socket.AF_UNIX
        serve = loop.create_unix_server if sock_is_unix else loop.create_server
        self._server = await serve(lambda: _Connection(self), sock=sock, backlog=512)

    async def verdicts(self, transaction: Transaction) -> Sequence[Verdict]:
        hop = f"{self.host}/{transaction.ident}" if transaction.ident else None
        found = scan(transaction.raw, transaction.sender)
        arrival = Arrival(transaction.raw, transaction.sender, tuple(transaction.recipients), hop, found)
        try:
            return await self.deliver(arrival)
        except Exception:
            log.exception("a mail could not be stored; its hop keeps it")
            return [Verdict.unavailable] * len(transaction.recipients)

    async def drain(self, limit_s: float) -> None:
        """Take no more connections, finish what is under way, close."""
        if self._server:
            self._server.close()
        for connection in list(self.connections):
            connection.leave()
        end = asyncio.get_running_loop().time() + limit_s
        while self.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.connection_lost(None)
            connection._transport.abort()
