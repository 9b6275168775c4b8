"""The edge of LMTP: a protocol that moves bytes between a socket and the session, and asks `deliver` for verdicts.

Believe XFORWARD only where Postfix alone can connect: a socket in its chroot. Elsewhere anyone could claim an identity first.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from restante.server.lmtp.dialogue import DRAINING, TIMED_OUT, State, Transaction
from restante.server.lmtp.session import Session
from restante.server.mail.scan import LARGE, scan
from restante.server.store.base import Arrival, Verdict

log = logging.getLogger(__name__)

Deliver = Callable[[Arrival], Awaitable[Sequence[Verdict]]]
BACKLOG = 512


class LmtpServer:
    """Hands each mail to `deliver` and answers each recipient with its verdict. `host` is the MTA's part of every hop."""

    def __init__(
        self, deliver: Deliver, *, host: str, size_limit: int, idle_s: float = 300, smtp: bool = False
    ) -> None:
        self.host, self.size_limit, self.idle_s, self.smtp = host, size_limit, idle_s, smtp
        self.draining = False
        self._deliver = deliver
        self._open: set[_Connection] = set()
        self._none_open = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self._open)

    async def start(self, sock: socket.socket) -> None:
        """Serve on a socket that is bound, of any family."""
        loop = asyncio.get_running_loop()
        if sock.family != socket.AF_UNIX:
            self._server = await loop.create_server(self._connect, sock=sock, backlog=BACKLOG)
        elif sys.version_info >= (3, 13):  # it would remove systemd's socket from the file system when it closes
            self._server = await loop.create_unix_server(
                self._connect, sock=sock, backlog=BACKLOG, cleanup_socket=False
            )
        else:
            self._server = await loop.create_unix_server(self._connect, sock=sock, backlog=BACKLOG)

    async def drain(self, limit_s: float) -> None:
        """Take no connection any more, let mails that are under way be finished, close. What is left at the limit is cut."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.drain()
        if self._open:
            self._none_open.clear()
            try:
                await asyncio.wait_for(self._none_open.wait(), limit_s)
            except TimeoutError:
                self.close()

    def close(self) -> None:
        """Cut every connection. The hop has no reply for what was under way, and sends it again."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            connection.abort()

    async def verdicts(self, transaction: Transaction) -> Sequence[Verdict] | None:
        """What became of the recipients; None when `deliver` failed."""
        hop = f"{self.host}/{transaction.identity}" if transaction.identity else None
        raw, sender = transaction.raw, transaction.sender
        try:
            found = await asyncio.to_thread(scan, raw, sender) if len(raw) > LARGE else scan(raw, sender)
            arrival = Arrival(raw, sender, tuple(transaction.recipients), hop, found)
            return await self._deliver(arrival)
        except Exception as error:
            # Neither the message nor the values of the error: a database quotes the row, and the row is the mail.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("The delivery of %s failed with %s.\n%s", hop or "a mail", type(error).__qualname__, place)
            return None

    def _connect(self) -> _Connection:
        return _Connection(self)

    def opened(self, connection: _Connection) -> None:
        self._open.add(connection)

    def closed(self, connection: _Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._none_open.set()


class _Connection(asyncio.Protocol):
    """One client. Reading stops while bytes come that nobody can take: during a delivery, or before replies are read."""

    def __init__(self, server: LmtpServer) -> None:
        self._server = server
        self._session = Session(server.host, server.size_limit, smtp=server.smtp)
        self._session.draining = server.draining
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._delivery: asyncio.Task[None] | None = None
        self._paused: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of a class of their own.
        self._transport = cast("asyncio.Transport", transport)
        self._server.opened(self)
        self._timer = self._loop.call_later(self._server.idle_s, self._watch)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._server.closed(self)  # a delivery goes on: the store has it, and its hop will be known

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._delivery is not None:
            self._pause("delivery")
        self._advance(self._session.receive(data))

    def pause_writing(self) -> None:
        self._pause("replies")

    def resume_writing(self) -> None:
        self._resume("replies")

    def drain(self) -> None:
        """Leave now, or answer 421 to the command after the mail that is under way."""
        self._session.draining = True
        if self._session.idle:
            self._session.leave(DRAINING)
            self._send()

    def abort(self) -> None:
        self._transport.abort()

    def _advance(self, transaction: Transaction | None) -> None:
        self._send()
        if transaction is not None:
            self._delivery = self._loop.create_task(self._deliver(transaction))

    async def _deliver(self, transaction: Transaction) -> None:
        verdicts = await self._server.verdicts(transaction)
        self._delivery = None
        if self._transport.is_closing():
            return
        self._heard = self._loop.time()
        self._advance(self._session.answer(verdicts))
        if self._delivery is None:
            self._resume("delivery")
            if self._server.draining:
                self.drain()  # nobody has to send a command first

    def _send(self) -> None:
        replies = self._session.take()
        if replies and not self._transport.is_closing():
            self._transport.write(replies)
        if self._session.state is State.closed:
            self._transport.close()

    def _watch(self) -> None:
        left = self._heard + self._server.idle_s - self._loop.time()
        if self._delivery is not None:
            left = self._server.idle_s
        elif left <= 0:
            self._session.leave(TIMED_OUT)
            self._send()
            left = self._server.idle_s
            self._loop.call_later(1, self._transport.abort)  # a client that reads nothing would keep it open
        self._timer = self._loop.call_later(left, self._watch)

    def _pause(self, reason: str) -> None:
        if not self._paused:
            self._transport.pause_reading()
        self._paused.add(reason)

    def _resume(self, reason: str) -> None:
        if reason in self._paused:
            self._paused.discard(reason)
            if not self._paused:
                self._transport.resume_reading()
