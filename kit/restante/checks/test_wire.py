"""Through the edge as a client sees it: TLS, WebSocket, SSE and long-poll, one of them idle for more than a minute."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import smtplib
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from http.client import HTTPSConnection
from typing import Any

import pytest
from bundle import Bundle, Expected
from canary import Canary, prepared
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

check = pytest.mark.check
PATIENCE_S = 10
AT_ONCE_S = 5
SOCKET = "/v1/ws"  # the post office's
BEAT_S = 15
IDLE_S = 65  # nginx's default proxy_read_timeout is 60
DAYS_LEFT = 21
# While data is unacknowledged the socket shows the retransmission timer instead: look until it is quiet, for 3 s at most.
_WHEN_QUIET = (
    "for i in $(seq 30); do ss -Htno state established sport = :443 dport = :{} | tee /dev/stderr | grep keepalive && exit; "
    "sleep 0.1; done"
)


class Wire:
    """Connections to an edge's first address under the spec's own name.

    With the canary's token, or without a post office with what $RESTANTE_VERIFY_TOKEN holds.
    """

    def __init__(self, bundle: Bundle, ca: str | None, canary: Canary | None) -> None:
        self.domain = bundle.plan["domain"]
        self.bundle = bundle
        self.canary = canary
        token = f"Bearer {canary.token}" if canary else os.environ.get("RESTANTE_VERIFY_TOKEN")
        self.headers = {bundle.plan["token_header"]: token} if token else {}
        self.context = ssl.create_default_context(cafile=ca)

    def address(self, host: str) -> str:
        return str(self.bundle.plan["hosts"][host]["addresses"][0])

    def routes(self, kind: str) -> list[str]:
        return self.bundle.probes(kind)

    def tls(self, host: str) -> ssl.SSLSocket:
        return self.tls_at(self.address(host))

    def tls_at(self, address: str) -> ssl.SSLSocket:
        plain = socket.create_connection((address, 443), PATIENCE_S)
        try:
            return self.context.wrap_socket(plain, server_hostname=self.domain)
        except (ssl.SSLError, OSError) as error:
            plain.close()
            raise Expected(f"a certificate chain that a client accepts for {self.domain}", error) from None

    def websocket(self, host: str, path: str) -> connect:
        """asyncio's, not the threaded client: with that one two threads share a TLS object, and Python 3.11 corrupts it."""
        plain = socket.create_connection((self.address(host), 443), PATIENCE_S)
        plain.setblocking(False)
        uri = f"wss://{self.domain}{path}"
        return connect(
            uri, sock=plain, ssl=self.context, ping_interval=None, compression=None, open_timeout=PATIENCE_S,
            additional_headers=self.headers,
        )  # fmt: skip

    def get(self, host: str, path: str, headers: dict[str, str], body: object = None) -> tuple[HTTPSConnection, Any]:
        """POST with a body, GET without."""
        connection = HTTPSConnection(self.domain, timeout=PATIENCE_S + 25, context=self.context)
        connection.sock = self.tls(host)
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, {**self.headers, **headers})
        return connection, connection.getresponse()


@pytest.fixture(scope="session")
def canary(bundle: Bundle, life: Any) -> Iterator[Canary | None]:
    posts = [host for host in bundle.with_component("post") if host in life.facts] or bundle.with_component("post")
    if not posts:
        yield None
        return
    with prepared(life.host(posts[0]), bundle.plan["mail"]["domains"][0]) as made:
        yield made


@pytest.fixture(scope="session")
def wire(bundle: Bundle, request: pytest.FixtureRequest, canary: Canary | None) -> Wire:
    return Wire(bundle, request.config.getoption("--restante-ca"), canary)


@pytest.fixture(scope="session")
def idle(wire: Wire, life: Any) -> Iterator[dict[str, Future[None]]]:
    """One silent WebSocket per edge and route, all at once, so that they are idle side by side."""
    hosts = [host for host in life.facts if host in wire.bundle.with_component("nginx")]
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        yield {host: pool.submit(asyncio.run, silent(wire, host)) for host in hosts}


async def silent(wire: Wire, host: str) -> None:
    """A WebSocket on every route, side by side."""
    await asyncio.gather(*(unattended(wire, host, path) for path in wire.routes("websocket")))


async def unattended(wire: Wire, host: str, path: str) -> None:
    """Say nothing for longer than nginx's default timeout, and want a pong then.

    The post office drops who does not ping: on its own socket the heartbeat is all that is said, and each is answered.
    """
    async with opened(wire, host, path) as held:
        beats = IDLE_S // BEAT_S if wire.canary and path == SOCKET else 0
        for _ in range(beats):
            await heartbeat(held)
            await asyncio.sleep(BEAT_S)
        await asyncio.sleep(IDLE_S - beats * BEAT_S)
        await pong(held, path)


async def heartbeat(held: ClientConnection) -> None:
    """A ping of the protocol's own, answered by the process that serves the store; RFC 6455's may be a proxy's work."""
    await held.send(json.dumps({"type": "ping", "id": 1, "ts": 0}))
    await told_of(held, "pong")


async def told_of(held: ClientConnection, kind: str) -> None:
    """Wait for a frame of this type."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while json.loads(await held.recv())["type"] != kind:
                pass
    except TimeoutError:
        raise Expected(f"a {kind} on {SOCKET} within {PATIENCE_S} s", "silence") from None
    except ConnectionClosed as closed:
        raise Expected(f"a {kind} on {SOCKET}", f"closed: {closed}") from None


@asynccontextmanager
async def opened(wire: Wire, host: str, path: str) -> AsyncIterator[ClientConnection]:
    connecting = wire.websocket(host, path)
    try:
        held = await connecting
    except (OSError, TimeoutError, InvalidHandshake) as refused:
        hint = " (set RESTANTE_VERIFY_TOKEN to what the backend wants)" if "401" in str(refused) else ""
        raise Expected(f"an upgrade on {path}", f"{refused or type(refused).__name__}{hint}") from None
    async with held:
        yield held


async def pong(held: ClientConnection, path: str) -> None:
    """Every WebSocket server answers a ping (RFC 6455, 5.5.2)."""
    try:
        await asyncio.wait_for(await held.ping(), PATIENCE_S)
    except TimeoutError:
        raise Expected(f"a pong on {path} within {PATIENCE_S} s", "silence") from None
    except ConnectionClosed as closed:
        raise Expected(f"an open WebSocket on {path}", f"closed: {closed}") from None


@check(id="certificate-accepted", cause=4, key="tls", component="nginx")
def test_certificate(wire: Wire, host_name: str) -> None:
    with wire.tls(host_name) as secured:
        certificate = secured.getpeercert() or {}
    ends = datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), datetime.UTC)
    left = (ends - datetime.datetime.now(datetime.UTC)).days
    if left < DAYS_LEFT:
        raise Expected(f"a certificate with at least {DAYS_LEFT} days left", f"{left} days")


@check(id="floating-address-answers", cause=5, key="edge.floating", component="keepalived")
@pytest.mark.usefixtures("facts")
def test_floating(wire: Wire, bundle: Bundle) -> None:
    """From here, as agents reach the domain; whichever edge holds it."""
    for address in bundle.plan["floating"]:
        try:
            wire.tls_at(address).close()
        except OSError as error:
            raise Expected(f"an edge that answers at {address}", error) from None


@check(id="websocket-through-edge", cause=3, key="edge.routes", component="nginx", kind="websocket")
def test_websocket(wire: Wire, life: Any, host_name: str) -> None:
    """Upgraded, answering, and with a keepalive timer on the edge's own socket."""
    for path in wire.routes("websocket"):
        asyncio.run(upgraded(wire, life.host(host_name), host_name, path))


async def upgraded(wire: Wire, host: Any, name: str, path: str) -> None:
    async with opened(wire, name, path) as held:
        if wire.canary and path == SOCKET:
            await told_of(held, "hello")
            await heartbeat(held)
        await pong(held, path)
        look = _WHEN_QUIET.format(held.local_address[1])
        shown = (await asyncio.to_thread(host.run, look)).stdout
        if "keepalive" not in shown:
            raise Expected("a keepalive timer on the edge's socket", shown.strip() or "no such socket")


@check(id="sse-through-edge", cause=5, key="edge.routes", component="nginx", kind="sse")
def test_sse(wire: Wire, host_name: str) -> None:
    own = [f"/v1/inboxes/{wire.canary.inbox}/stream"] if wire.canary else []
    for path in (*wire.routes("sse"), *own):
        began = time.monotonic()
        connection, answer = wire.get(host_name, path, {"Accept": "text/event-stream"})
        kind = answer.headers.get("Content-Type", "")
        first = answer.read1(64) if answer.status == 200 else b""
        took = time.monotonic() - began
        connection.close()
        # What an edge buffers comes with the next heartbeats, if at all.
        if answer.status != 200 or "text/event-stream" not in kind or not first or took > AT_ONCE_S:
            raise Expected(
                f"an event stream on {path} with its first bytes within {AT_ONCE_S} s",
                f"{answer.status} {kind} {first!r} after {took:.1f} s",
            )


@check(id="longpoll-through-edge", cause=5, key="edge.longpoll_hold", component="nginx", kind="longpoll")
def test_longpoll(wire: Wire, host_name: str) -> None:
    for path in wire.routes("longpoll"):
        connection, answer = wire.get(host_name, f"{path}?wait_seconds=1", {})
        answer.read()
        connection.close()
        if answer.status >= 400:
            raise Expected(f"an answer on {path}, at once or after its wait", f"{answer.status} {answer.reason}")
    if wire.canary:
        received(wire, host_name, "", wait_seconds=2)


@check(id="http-through-edge", cause=5, key="edge.routes", component="nginx", kind="http")
def test_http(wire: Wire, host_name: str) -> None:
    """Any answer of the upstream's own will do: 502 and 504 are the edge's, and say that it did not come."""
    for path in wire.routes("http"):
        connection, answer = wire.get(host_name, path, {})
        answer.read()
        connection.close()
        if answer.status >= 500:
            raise Expected(f"an answer of the upstream on {path}", f"{answer.status} {answer.reason}")


@check(id="canary", cause=7, key="inboxes", component="post")
def test_canary(wire: Wire, host_name: str) -> None:
    """A mail to this host's Postfix is stored, signalled on a held WebSocket, received through an edge, and acknowledged."""
    assert wire.canary
    subject = f"canary {uuid.uuid4().hex}"
    edges = wire.bundle.with_component("nginx")
    if not edges:
        pytest.skip("this spec has no edge, so the way of its agents is not the kit's to try")
    asyncio.run(told(wire, edges[0], host_name, subject))
    if not received(wire, edges[0], subject):
        raise Expected("the canary's mail from receive", "everything but it")


async def told(wire: Wire, edge: str, post: str, subject: str) -> None:
    """Send, and wait for the signal."""
    assert wire.canary
    async with opened(wire, edge, SOCKET) as held:
        await held.send(json.dumps({"type": "subscribe", "streams": [{"inbox": wire.canary.inbox}]}))
        await told_of(held, "subscribed")
        await asyncio.to_thread(send, wire, post, subject)
        try:
            async with asyncio.timeout(3 * PATIENCE_S):
                while json.loads(await held.recv()).get("subject") != subject:
                    pass
        except TimeoutError:
            raise Expected(f"a signal within {3 * PATIENCE_S} s of Postfix's 250", "silence") from None


def send(wire: Wire, post: str, subject: str) -> None:
    """Through Postfix. It knows an inbox that was just made once the post office has told it, within seconds."""
    assert wire.canary
    mail = f"From: verify@verify.invalid\r\nTo: {wire.canary.inbox}\r\nSubject: {subject}\r\n\r\nIs anybody there?\r\n"
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with smtplib.SMTP(wire.address(post), 25, local_hostname="verify.invalid", timeout=PATIENCE_S) as smtp:
                smtp.sendmail("", [wire.canary.inbox], mail)
            return
        except smtplib.SMTPRecipientsRefused as error:
            if time.monotonic() > end:
                raise Expected(f"250 for {wire.canary.inbox}", error.recipients) from None
            time.sleep(0.5)
        except (OSError, smtplib.SMTPException) as error:
            raise Expected(f"a mail taken by {post}", error) from None


def received(wire: Wire, edge: str, subject: str, wait_seconds: int = 0) -> bool:
    """Receive and acknowledge all that waits, or comes while it waits; whether the mail was among it."""
    assert wire.canary
    base, found = f"/v1/inboxes/{wire.canary.inbox}", False
    while items := post(wire, edge, f"{base}/receive", {"max_messages": 100, "wait_seconds": wait_seconds})["items"]:
        found = found or any(item["message"]["subject"] == subject for item in items)
        results = post(wire, edge, f"{base}/ack", {"receipt_handles": [item["receipt_handle"] for item in items]})[
            "results"
        ]
        if wrong := [each["result"] for each in results if each["result"] != "ok"]:
            raise Expected("ok for every acknowledgement", wrong)
    return found


def post(wire: Wire, edge: str, path: str, body: object) -> Any:
    connection, answer = wire.get(edge, path, {"Content-Type": "application/json"}, body)
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise Expected(f"200 on {path}", f"{answer.status} {content[:200]!r}")
    return json.loads(content)


@check(id="websocket-idle", cause=3, key="edge.socket_read_timeout", component="nginx", slow=True, kind="websocket")
def test_idle(idle: dict[str, Future[None]], host_name: str) -> None:
    """Silent for longer than nginx's default timeout, and still there."""
    idle[host_name].result(IDLE_S + 3 * PATIENCE_S)
