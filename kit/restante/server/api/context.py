"""What every route needs, and who is asking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import HTTPConnection

from restante.errors import RestanteError
from restante.server.handles import Signer
from restante.server.metrics import Metrics
from restante.server.push.hub import Hub
from restante.server.push.webhook import Dispatcher
from restante.server.push.websocket import Sessions
from restante.server.settings import Settings
from restante.server.store import idempotency, tokens
from restante.server.store.base import Inbox, NotFoundError, StoreError, Token
from restante.server.store.store import Store

REMEMBERED_S = 2.0  # a token revoked on another server is refused here after so long
CLOCKS_S = 60.0  # by which the clocks of two servers may differ
CHECKED_S = 600.0  # so often a socket's token is looked for in the store: a restore may have taken it away
CHECK_S = 2.0  # of the 5 in which a pong is due
TICKET_S = 30
TICKET = "ticket"  # in the place of a token's id: what was used once
ADMIN, EDGE = "restante.admin", "restante.edge"  # in the scope of what came by the host's own socket, or the edges'
CALLER = "restante.caller"  # in the scope of a request: who asks, for the log
SCOPES = ("receive", "read", "manage")


class ApiError(RestanteError):
    """A refusal with its HTTP status and code; str() is for the caller."""

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        self.status, self.code, self.details = status, code, details
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `token_id` is "" on the host's own admin socket."""

    token_id: str
    admin: bool
    scopes: Mapping[str, Any] = field(default_factory=dict)

    def may(self, address: str, scope: str) -> bool:
        return self.admin or scope in self.scopes.get(address, ()) or scope in self.scopes.get("*", ())


@dataclass
class Post:
    """The running post office."""

    settings: Settings
    store: Store
    hub: Hub
    sessions: Sessions
    metrics: Metrics
    signer: Signer
    dispatcher: Dispatcher
    used: dict[str, float] = field(default_factory=dict)
    ready: bool = False
    scrape: asyncio.Lock = field(default_factory=asyncio.Lock)  # each sets the gauges anew
    _known: dict[str, tuple[float, Token]] = field(default_factory=dict)
    _standing: dict[str, float] = field(default_factory=dict)
    _revoked: dict[str, float] = field(default_factory=dict)

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Raises ApiError 401. The token is read from the header only: an address bar and a log keep what is in a URL.

        Raises StoreError at once while the store is away: a request that waited for it would hold its agent when the store is back.
        """
        if connection.scope.get(ADMIN):
            connection.scope[CALLER] = "root on this host"
            return Caller("", admin=True)
        if self.hub.store_is_away:
            raise StoreError("the store does not answer at this moment")
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise ApiError(401, "unauthorized", "a token is needed: Authorization: Bearer TOKEN")
        found = await self.bearer(text.strip())
        connection.scope[CALLER] = f"token {found.token_id}"
        return found

    async def bearer(self, text: str) -> Caller:
        now = time.monotonic()
        kept = self._known.get(text)
        if kept and now - kept[0] < REMEMBERED_S:
            token = kept[1]
        else:
            found = await self.store.authenticate(text)
            if found is None:
                self._known.pop(text, None)
                raise ApiError(401, "unauthorized", "this token is not known here, or was revoked")
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[text] = (now, token := found)
            self._standing[token.id] = now
            self._revoked.pop(token.id, None)  # a restore may have taken that back
        self.used[token.id] = self.store.clock.now()
        return Caller(token.id, token.admin, token.scopes)

    async def stands(self, caller: Caller) -> bool:
        """Whether the token of an open socket was not revoked since; whatever it came with, itself or a ticket.

        A store that is away says nothing about it, and shows nothing to anybody: the socket holds, and is asked about again.
        """
        if caller.token_id in self._revoked:
            return False
        now = time.monotonic()
        checked = now - self._standing.get(caller.token_id, -CHECKED_S) < CHECKED_S
        if checked or not caller.token_id or self.hub.store_is_away:
            return True
        try:
            async with asyncio.timeout(CHECK_S):
                revoked = (await self.store.read(lambda tx: tokens.get(tx, caller.token_id))).revoked_at
        except NotFoundError:
            return False
        except (StoreError, TimeoutError):
            return True
        if not revoked:
            self._standing[caller.token_id] = now
        return not revoked

    async def look_for_revoked(self) -> None:
        """Other servers revoke tokens too. One question for all that are open here, whose tokens are as many as they."""
        newest = max(self._revoked.values(), default=0.0)
        self._revoked |= await self.store.revoked_tokens(newest - CLOCKS_S)

    def forget(self, revoked: Token) -> None:
        """It was revoked here."""
        self._revoked[revoked.id] = revoked.revoked_at or 0.0
        self._known = {text: kept for text, kept in self._known.items() if kept[1].id != revoked.id}

    async def inbox(self, caller: Caller, address: str, scope: str) -> Inbox:
        """A name without @ is of the first domain. Raises ApiError 404 for an inbox that the caller may not touch, as for none."""
        if "@" not in address and self.settings.inboxes.domains:
            address = f"{address}@{self.settings.inboxes.domains[0]}"
        if caller.may(address.lower(), scope):
            try:
                return await self.store.inbox(address)
            except NotFoundError:
                pass
        elif any(caller.may(address.lower(), other) for other in SCOPES):
            raise ApiError(403, "forbidden", f"this token may not {scope} on {address}")
        raise ApiError(404, "not_found", f"there is no inbox {address}, or this token is not for it")

    async def move(self, reason: str, peer: str | None = None) -> None:
        """Sockets are asked to open another before they are cut; those that came by `peer`, or all."""
        await self.sessions.move(self.settings.socket.drain_s, reason, peer)

    def ticket(self, caller: Caller) -> tuple[str, int]:
        """A ticket for one connection of a browser, and when it ends."""
        expires = int(time.time()) + TICKET_S
        return self.signer.ticket(caller.token_id or "0", expires), expires

    async def redeem(self, ticket: str) -> Caller:
        """Raises ApiError 401. A ticket opens one connection, within 30 s, whichever server it comes to."""
        found = self.signer.read_ticket(ticket)
        if (
            not found
            or found[1] < time.time()
            or not await self.store.write(lambda tx: idempotency.claim(tx, TICKET, ticket))
        ):
            raise ApiError(401, "unauthorized", "this ticket is wrong, used or older than 30 s; get another")
        token = next((each for each in await self.store.tokens() if each.id == found[0] and not each.revoked_at), None)
        if token is None:
            raise ApiError(401, "unauthorized", "the token behind this ticket was revoked")
        return Caller(token.id, token.admin, token.scopes)
