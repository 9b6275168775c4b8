"""Through the edge as a client sees it: TLS, WebSocket, SSE and long-poll, one of them idle for more than a minute."""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from http.client import HTTPSConnection
from typing import Any

import pytest
from bundle import Bundle, Expected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

check = pytest.mark.check
PATIENCE_S = 10
NO_TOKEN = 4800  # protocol: stop, authentication
IDLE_S = 65  # nginx's default proxy_read_timeout is 60
DAYS_LEFT = 21
# While data is unacknowledged the socket shows the retransmission timer instead: look until it is quiet, for 3 s at most.
_WHEN_QUIET = (
    "for i in $(seq 30); do ss -Htno state established sport = :443 dport = :{} | tee /dev/stderr | grep keepalive && exit; "
    "sleep 0.1; done"
)


class Wire:
    """Connections to an edge's first address under the spec's own name, with $RESTANTE_VERIFY_TOKEN if it is set."""

    def __init__(self, bundle: Bundle, ca: str | None) -> None:
        self.domain = bundle.plan["domain"]
        self.bundle = bundle
        token = os.environ.get("RESTANTE_VERIFY_TOKEN")
        self.headers = {bundle.plan["token_header"]: token} if token else {}
        self.context = ssl.create_default_context(cafile=ca)

    def address(self, host: str) -> str:
        return str(self.bundle.plan["hosts"][host]["addresses"][0])

    def routes(self, kind: str) -> list[str]:
        return self.bundle.probes(kind)

    def wants_token(self, path: str) -> bool:
        """The post office's own socket, and no $RESTANTE_VERIFY_TOKEN to open it with."""
        return bool(self.bundle.plan["mail"]) and path == "/v1/ws" and not self.headers

    def tls(self, host: str) -> ssl.SSLSocket:
        plain = socket.create_connection((self.address(host), 443), PATIENCE_S)
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

    def get(self, host: str, path: str, headers: dict[str, str]) -> tuple[HTTPSConnection, Any]:
        connection = HTTPSConnection(self.domain, timeout=PATIENCE_S + 25, context=self.context)
        connection.sock = self.tls(host)
        connection.request("GET", path, headers={**self.headers, **headers})
        return connection, connection.getresponse()


@pytest.fixture(scope="session")
def wire(bundle: Bundle, request: pytest.FixtureRequest) -> Wire:
    return Wire(bundle, request.config.getoption("--restante-ca"))


@pytest.fixture(scope="session")
def idle(wire: Wire, life: Any) -> Iterator[dict[str, Future[None]]]:
    """One silent WebSocket per edge and route, all at once, so that they are idle side by side."""
    hosts = [host for host in life.facts if host in wire.bundle.with_component("nginx")]
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        yield {host: pool.submit(asyncio.run, silent(wire, host)) for host in hosts}


async def silent(wire: Wire, host: str) -> None:
    """Open a WebSocket on every route, say nothing for longer than nginx's default timeout, and want a pong then."""
    async with AsyncExitStack() as stack:
        held = {path: await stack.enter_async_context(opened(wire, host, path)) for path in wire.routes("websocket")}
        await asyncio.sleep(IDLE_S)
        for path, connection in held.items():
            await pong(connection, path)


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


@check(id="websocket-through-edge", cause=3, key="edge.routes", component="nginx", kind="websocket")
def test_websocket(wire: Wire, life: Any, host_name: str) -> None:
    """Upgraded, answering, and with a keepalive timer on the edge's own socket."""
    for path in wire.routes("websocket"):
        if wire.wants_token(path):
            asyncio.run(turned_away(wire, host_name, path))
        else:
            asyncio.run(upgraded(wire, life.host(host_name), host_name, path))


async def turned_away(wire: Wire, name: str, path: str) -> None:
    """Without a token the post office itself closes with 4800, over a connection that was upgraded through the edge."""
    async with opened(wire, name, path) as held:
        await asyncio.wait_for(held.wait_closed(), PATIENCE_S)
    if held.close_code != NO_TOKEN:
        raise Expected(f"the post office's refusal ({NO_TOKEN}) on {path}", f"closed with {held.close_code}")


async def upgraded(wire: Wire, host: Any, name: str, path: str) -> None:
    async with opened(wire, name, path) as held:
        await pong(held, path)
        look = _WHEN_QUIET.format(held.local_address[1])
        shown = (await asyncio.to_thread(host.run, look)).stdout
        if "keepalive" not in shown:
            raise Expected("a keepalive timer on the edge's socket", shown.strip() or "no such socket")


@check(id="sse-through-edge", cause=5, key="edge.routes", component="nginx", kind="sse")
def test_sse(wire: Wire, host_name: str) -> None:
    for path in wire.routes("sse"):
        connection, answer = wire.get(host_name, path, {"Accept": "text/event-stream"})
        kind = answer.headers.get("Content-Type", "")
        first = answer.read1(64) if answer.status == 200 else b""
        connection.close()
        if answer.status != 200 or "text/event-stream" not in kind or not first:
            raise Expected(
                f"an event stream on {path} with its first bytes at once", f"{answer.status} {kind} {first!r}"
            )


@check(id="longpoll-through-edge", cause=5, key="edge.longpoll_hold", component="nginx", kind="longpoll")
def test_longpoll(wire: Wire, host_name: str) -> None:
    for path in wire.routes("longpoll"):
        connection, answer = wire.get(host_name, f"{path}?wait_seconds=1", {})
        answer.read()
        connection.close()
        if answer.status >= 400:
            raise Expected(f"an answer on {path}, at once or after its wait", f"{answer.status} {answer.reason}")


@check(id="http-through-edge", cause=5, key="edge.routes", component="nginx", kind="http")
def test_http(wire: Wire, host_name: str) -> None:
    """Any answer of the upstream's own will do: 502 and 504 are the edge's, and say that it did not come."""
    for path in wire.routes("http"):
        connection, answer = wire.get(host_name, path, {})
        answer.read()
        connection.close()
        if answer.status >= 500:
            raise Expected(f"an answer of the upstream on {path}", f"{answer.status} {answer.reason}")


@check(id="websocket-idle", cause=3, key="edge.socket_read_timeout", component="nginx", slow=True, kind="websocket")
def test_idle(idle: dict[str, Future[None]], host_name: str) -> None:
    """Silent for longer than nginx's default timeout, and still there."""
    idle[host_name].result(IDLE_S + 3 * PATIENCE_S)
