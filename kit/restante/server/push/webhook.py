"""Webhooks: a convenience, never the delivery. Signed as Standard Webhooks says, retried on a schedule that is in the store."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import random
import socket
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson

from restante.protocol.position import Cursor
from restante.server.handles import message_id
from restante.server.metrics import Metrics
from restante.server.push.hub import Hub, Waiter
from restante.server.settings import Network
from restante.server.store import webhooks
from restante.server.store.base import NotFoundError, StoreError
from restante.server.store.store import Store
from restante.server.store.webhooks import Attempt, Webhook

log = logging.getLogger("restante.webhook")
SCHEDULE_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)  # Standard Webhooks' own
JITTER = 0.1
TIMEOUT_S = 15
RETRY_AFTER_LIMIT_S = 86_400
CONCURRENT = 20
IDLE_S = 30.0


class ForbiddenAddressError(OSError):
    """An address that no webhook may lead to."""


def allowed(text: str, networks: Sequence[Network]) -> bool:
    """Public addresses, and the networks that the spec lists. Embedded IPv4 addresses are judged as what they are."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        address = inner or address
    if any(address.version == network.version and address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast


def signature(secret: str, name: str, timestamp: int, body: bytes) -> str:
    """One signature of the webhook-signature header."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{name}.{timestamp}.".encode() + body, hashlib.sha256)).decode()


class Dispatcher:
    """One for each server; the store keeps two of them from sending the same."""

    def __init__(
        self, store: Store, hub: Hub, metrics: Metrics, networks: Sequence[Network], *, https_only: bool
    ) -> None:
        self._store, self._hub, self._metrics, self._networks, self._https_only = (
            store,
            hub,
            metrics,
            networks,
            https_only,
        )
        self._waiter = Waiter()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """For as long as the server runs."""
        self._hub.everything.add(self._waiter)
        connector = aiohttp.TCPConnector(
            limit=CONCURRENT, ttl_dns_cache=None, use_dns_cache=False, socket_factory=self._socket, force_close=True
        )
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            while not self._hub.draining.is_set():
                wait = IDLE_S
                try:
                    wait = await self._round(session)
                except StoreError as error:
                    log.warning("webhooks wait for the store: %s", error)
                await self._waiter.wait(wait)

    def wake(self) -> None:
        self._waiter.wake(0)

    def _socket(self, info: Any) -> socket.socket:
        """Called with the very address that is connected to, so that a name can't change in between."""
        if not allowed(str(info[4][0]), self._networks):
            raise ForbiddenAddressError(
                f"{info[4][0]} is not a public address; the spec's webhooks.allow lists others that may be called"
            )
        return socket.socket(info[0], info[1], info[2])

    async def _round(self, session: aiohttp.ClientSession) -> float:
        """Queue, claim, send. Seconds until there is something to do again."""
        hooks = await self._store.read(webhooks.everyone)
        self._metrics.paused.set(sum(hook.state == "paused" for hook in hooks))
        if not hooks:
            return IDLE_S
        await self._store.write(webhooks.queue)
        room = CONCURRENT - len(self._running)
        for each, hook in await self._store.write(lambda tx: webhooks.claim(tx, room, TIMEOUT_S * 2)) if room else ():
            task = asyncio.get_running_loop().create_task(self._attempt(session, each, hook))
            self._running.add(task)
            task.add_done_callback(self._done)
        row = await self._store.read(lambda tx: tx.one("webhook_next"))
        due = row[0] - self._store.clock.now() if row and row[0] is not None else IDLE_S
        return max(0.05, min(IDLE_S, due))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.wake()

    async def _attempt(self, session: aiohttp.ClientSession, each: Attempt, hook: Webhook) -> None:
        try:
            status, error, after = await self.send(session, hook, name(each), await self._event(each))
        except NotFoundError:
            status, error, after = 200, "the message is gone", None
        with contextlib.suppress(StoreError):  # its claim runs out, and it is sent again
            await self._settle(each, hook, status, error, after)

    async def _event(self, each: Attempt) -> dict[str, Any]:
        found = await self._store.message(each.inbox_id, each.seq)
        epoch, _, _ = await self._store.head(each.inbox_id)
        return {
            "type": each.event_type, "timestamp": found.received_at,
            "data": {
                "inbox_id": found.delivered_to.lower(), "id": message_id(each.inbox_id, each.seq, found.received_at),
                "cursor": str(Cursor(epoch, each.seq)),
                "message_id": found.message_id, "from": found.sender, "subject": found.subject, "size": found.size,
            },
        }  # fmt: skip

    async def send(
        self, session: aiohttp.ClientSession, hook: Webhook, name: str, event: dict[str, Any]
    ) -> tuple[int | None, str | None, float | None]:
        """(status, error, seconds of Retry-After)"""
        if self._https_only and not hook.url.startswith("https://"):
            return None, "the spec allows https only", None
        body, now = orjson.dumps(event), self._store.clock.now()
        signed = " ".join(
            signature(secret, name, int(now), body) for secret, until in hook.secrets if until is None or until > now
        )
        headers = {
            **hook.headers, "Content-Type": "application/json", "User-Agent": "restante", "webhook-id": name,
            "webhook-timestamp": str(int(now)), "webhook-signature": signed,
        }  # fmt: skip
        try:
            async with session.post(hook.url, data=body, headers=headers, allow_redirects=False) as response:
                await response.content.read(1024)
                error = None if 200 <= response.status < 300 else f"answered {response.status}"
                return response.status, error, _retry_after(response.headers.get("Retry-After"), now)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as problem:
            return None, f"{type(problem).__name__}: {problem}"[:300], None

    async def _settle(
        self, each: Attempt, hook: Webhook, status: int | None, error: str | None, after: float | None
    ) -> None:
        attempts = each.attempts + 1
        now = self._store.clock.now()
        if error is None or status == 200:
            self._metrics.webhooks.labels("delivered").inc()
            await self._store.write(
                lambda tx: webhooks.finish(tx, each, state="delivered", next_at=now, status=status, error=None)
            )
            return
        self._metrics.webhooks.labels("failed").inc()
        if status == 410 or attempts >= len(SCHEDULE_S):
            reason = "it answered 410 Gone" if status == 410 else f"{attempts} attempts failed, the last: {error}"
            log.warning("the webhook %s is paused: %s", hook.id, reason)

            def pause(tx: Any) -> None:
                webhooks.finish(tx, each, state="failed", next_at=now, status=status, error=error)
                webhooks.update(tx, hook.id, state="paused", reason=reason)

            await self._store.write(pause)
            return
        delay = SCHEDULE_S[attempts] * (1 + random.uniform(0, JITTER))  # noqa: S311
        due = now + max(delay, after or 0)
        await self._store.write(
            lambda tx: webhooks.finish(tx, each, state="pending", next_at=due, status=status, error=error)
        )

    async def test(self, hook: Webhook) -> tuple[int | None, str | None]:
        """One event of type `test`, now; a paused webhook that answers is active again."""
        connector = aiohttp.TCPConnector(use_dns_cache=False, socket_factory=self._socket, force_close=True)
        async with aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
        ) as session:
            now = self._store.clock.now()
            status, error, _ = await self.send(
                session, hook, f"{hook.id}-test-{int(now)}", {"type": "test", "timestamp": now, "data": {}}
            )
        if error is None and hook.state == "paused":
            await self._store.write(lambda tx: webhooks.update(tx, hook.id, state="active"))
            self.wake()
        return status, error


def _retry_after(text: str | None, now: float) -> float | None:
    """Of both forms (RFC 9110 10.2.3): seconds, and a date. What is neither says nothing."""
    if not text:
        return None
    try:
        seconds = int(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):  # a year, or an offset, that there is not
        return None
    return min(seconds, RETRY_AFTER_LIMIT_S)


def name(each: Attempt) -> str:
    """What a receiver knows a delivery by: the same for each try, another for a message that took a number after a restore."""
    return f"{each.webhook_id}-{message_id(each.inbox_id, each.seq, each.received_at or 0.0)}"
