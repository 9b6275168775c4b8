"""Through the edge as a client sees it: TLS, WebSocket, SSE and long-poll, one of them idle for more than a minute."""

from __future__ import annotations

import datetime
import socket
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPSConnection
from typing import Any

import pytest
from bundle import Bundle, Expected
from websockets.sync.client import ClientConnection, connect

check = pytest.mark.check
PATIENCE_S = 10
IDLE_S = 65  # nginx's default proxy_read_timeout is 60
DAYS_LEFT = 21
# While data is unacknowledged the socket shows the retransmission timer instead: look until it is quiet, for 3 s at most.
_WHEN_QUIET = (
    "for i in $(seq 30); do ss -Htno state established sport = :443 dport = :{} | tee /dev/stderr | grep keepalive && exit; "
    "sleep 0.1; done"
)


class Wire:
    """Connections to one address of the edge under the spec's own name."""

    def __init__(self, bundle: Bundle, ca: str | None) -> None:
        self.domain = bundle.plan["domain"]
        self.bundle = bundle
        self.context = ssl.create_default_context(cafile=ca)

    def address(self, host: str) -> str:
        return str(self.bundle.plan["hosts"][host]["addresses"][0])

    def routes(self, kind: str) -> list[str]:
        return [route["path"] for route in self.bundle.plan["routes"] if route["kind"] == kind]

    def tls(self, host: str) -> ssl.SSLSocket:
        plain = socket.create_connection((self.address(host), 443), PATIENCE_S)
        try:
            return self.context.wrap_socket(plain, server_hostname=self.domain)
        except (ssl.SSLError, OSError) as error:
            plain.close()
            raise Expected(f"a certificate chain that a client accepts for {self.domain}", error) from None

    def websocket(self, host: str, path: str) -> ClientConnection:
        plain = socket.create_connection((self.address(host), 443), PATIENCE_S)
        uri = f"wss://{self.domain}{path}"
        return connect(uri, sock=plain, ssl=self.context, ping_interval=None, compression=None, open_timeout=PATIENCE_S)

    def get(self, host: str, path: str, headers: dict[str, str]) -> tuple[HTTPSConnection, Any]:
        connection = HTTPSConnection(self.domain, timeout=PATIENCE_S + 25, context=self.context)
        connection.sock = self.tls(host)
        connection.request("GET", path, headers=headers)
        return connection, connection.getresponse()


@pytest.fixture(scope="session")
def wire(bundle: Bundle, request: pytest.FixtureRequest) -> Wire:
    return Wire(bundle, request.config.getoption("--restante-ca"))


@pytest.fixture(scope="session")
def idle(
    wire: Wire, bundle: Bundle, request: pytest.FixtureRequest
) -> Iterator[dict[str, tuple[float, list[ClientConnection]]]]:
    """One silent WebSocket per edge and route, all opened at once so that they are idle side by side."""
    wanted = request.config.getoption("--restante-host") or bundle.with_component("nginx")
    found = {}
    for host in set(wanted) & set(bundle.with_component("nginx")):
        try:
            found[host] = (time.monotonic(), [wire.websocket(host, path) for path in wire.routes("websocket")])
        except (OSError, Exception):
            found[host] = (0.0, [])
    yield found
    for _, sockets in found.values():
        for held in sockets:
            held.close()


def pong(held: ClientConnection, path: str) -> None:
    """Every WebSocket server answers a ping (RFC 6455, 5.5.2)."""
    try:
        answered = held.ping().wait(PATIENCE_S)
    except Exception as error:
        raise Expected(f"an open WebSocket on {path}", repr(error)) from None
    if not answered:
        raise Expected(f"a pong on {path} within {PATIENCE_S} s", "silence")


@check(id="certificate-accepted", cause=4, key="tls", component="nginx")
def test_certificate(wire: Wire, host_name: str) -> None:
    with wire.tls(host_name) as secured:
        certificate = secured.getpeercert() or {}
    ends = datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), datetime.UTC)
    left = (ends - datetime.datetime.now(datetime.UTC)).days
    if left < DAYS_LEFT:
        raise Expected(f"a certificate with at least {DAYS_LEFT} days left", f"{left} days")


@check(id="websocket-through-edge", cause=3, key="edge.routes", component="nginx")
def test_websocket(wire: Wire, life: Any, host_name: str) -> None:
    """Upgraded, answering, and with a keepalive timer on the edge's own socket."""
    for path in wire.routes("websocket"):
        with wire.websocket(host_name, path) as held:
            pong(held, path)
            shown = life.host(host_name).run(_WHEN_QUIET.format(held.local_address[1])).stdout
            if "keepalive" not in shown:
                raise Expected("a keepalive timer on the edge's socket", shown.strip() or "no such socket")


@check(id="sse-through-edge", cause=5, key="edge.routes", component="nginx")
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


@check(id="longpoll-through-edge", cause=5, key="edge.longpoll_hold", component="nginx")
def test_longpoll(wire: Wire, host_name: str) -> None:
    for path in wire.routes("longpoll"):
        connection, answer = wire.get(host_name, f"{path}?wait_seconds=1", {})
        answer.read()
        connection.close()
        if answer.status >= 500:
            raise Expected(f"an answer on {path} after a wait", answer.status)


@check(id="websocket-idle", cause=3, key="edge.socket_read_timeout", component="nginx", slow=True)
def test_idle(wire: Wire, idle: dict[str, tuple[float, list[ClientConnection]]], host_name: str) -> None:
    """Silent for longer than nginx's default timeout, and still there."""
    since, sockets = idle[host_name]
    if not sockets and wire.routes("websocket"):
        raise Expected("a WebSocket to hold", "the edge refused it; see websocket-through-edge")
    time.sleep(max(0.0, since + IDLE_S - time.monotonic()))
    for path, held in zip(wire.routes("websocket"), sockets, strict=False):
        pong(held, path)
