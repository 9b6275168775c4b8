"""Clients that others wrote work against the server too: Python's and npm's, and a browser, which cannot send a header."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import json
import queue
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
from edge import DOMAIN, Edge
from httpx_sse import connect_sse
from office import INBOX, Office, serving, settings

from restante.server.settings import Http, Webhooks

CLIENTS = Path(__file__).with_name("clients.mjs")
PACKAGES = ("eventsource@4.1.0", "reconnecting-websocket@4.4.0", "standardwebhooks@1.0.0", "ws@8.18.3")
PAGE = """<!doctype html><script>
const [url, inbox, ticket, other] = %s
const say = (what) => fetch('/heard', {method: 'POST', body: JSON.stringify(what)})
const socket = new WebSocket(url.replace('http', 'ws') + '/v1/ws', ['restante.v1', 'restante.ticket.' + ticket])
socket.onopen = () => socket.send(JSON.stringify({type: 'subscribe', streams: [{inbox}]}))
socket.onmessage = (event) => { const frame = JSON.parse(event.data); say(['socket ' + frame.type, frame.subject || null]) }
socket.onclose = (event) => say(['socket closed', event.code])
const source = new EventSource(url + '/v1/inboxes/' + inbox + '/stream?ticket=' + other)
source.onopen = () => say(['stream open', null])
source.addEventListener('signal', (event) => say(['stream signal', JSON.parse(event.data).subject]))
</script>"""


class Site(http.server.ThreadingHTTPServer):
    """A page for the browser, and what the page says; a receiver of webhooks too."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page = ""
        self.heard: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def next(self) -> tuple[dict[str, str], bytes]:
        return self.heard.get(timeout=30)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self._answer(self.server.page.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"{}")
        self.server.heard.put((dict(self.headers.items()), body))

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def office(tmp_path: Path, site: Site) -> Iterator[Office]:
    hooks = Webhooks(allow=(ipaddress.IPv4Network("127.0.0.0/8"),), https_only=False)
    with serving(settings(tmp_path, webhooks=hooks, http=Http(cors=(site.url,)))) as made:
        yield made


def url(office: Office) -> str:
    return f"http://127.0.0.1:{office.http_port}"


def test_httpx_sse_reads_the_stream(office: Office) -> None:
    headers = {"Authorization": f"Bearer {office.token}"}
    with (
        httpx.Client(headers=headers, timeout=30, trust_env=False) as client,
        connect_sse(client, "GET", f"{url(office)}/v1/inboxes/{INBOX}/stream") as source,
    ):
        assert source.response.status_code == 200
        office.send("hello")
        event = next(each for each in source.iter_sse() if each.event == "signal")
    assert event.json()["subject"] == "hello"
    assert event.id == event.json()["cursor"]


def test_standardwebhooks_accepts_our_signature(office: Office, site: Site) -> None:
    hook = office.call("POST", "/v1/webhooks", {"url": site.url, "inbox_ids": [INBOX]}).json
    office.send("hello")
    headers, body = site.next()
    assert standardwebhooks.Webhook(hook["secret"]).verify(body, headers)["type"] == "message.received"


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no Node is installed here")
def test_eventsource_reconnecting_websocket_and_standardwebhooks_of_npm(
    office: Office, site: Site, tmp_path: Path
) -> None:
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(tmp_path), *PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    if done.returncode:
        pytest.skip(f"npm could not install: {done.stderr[-300:]}")
    hook = office.call("POST", "/v1/webhooks", {"url": site.url, "inbox_ids": [INBOX]}).json
    argv = ["node", str(CLIENTS), url(office), office.token, INBOX, hook["secret"]]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as clients:
        try:
            assert clients.stdin
            assert words(clients, 2) == [{"what": "socket open", "times": 1}, {"what": "stream open"}]
            office.send("one")
            found = words(clients, 2)
            assert [(each["what"], each["subject"]) for each in found] == [
                ("socket signal", "one"),
                ("stream signal", "one"),
            ]

            headers, body = site.next()
            print(json.dumps({"headers": headers, "body": body.decode()}), file=clients.stdin, flush=True)
            assert words(clients, 1) == [{"what": "webhook", "type": "message.received"}]

            for session in list(office.office.post.sessions.open):
                office.run(session.close(1012, "restart"))
            assert words(clients, 1) == [{"what": "socket open", "times": 2}], "it reconnects by itself"
        finally:
            clients.kill()


def words(clients: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    assert clients.stdout
    return sorted((json.loads(clients.stdout.readline()) for _ in range(count)), key=lambda each: each["what"])


NGINX = pytest.param(
    "nginx", marks=[pytest.mark.lab, pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx is installed here")]
)


@pytest.fixture(params=["straight", NGINX])
def front(request: pytest.FixtureRequest, office: Office, tmp_path: Path) -> Iterator[str]:
    """The office's URL, straight or through nginx as the kit renders it."""
    if request.param == "straight":
        yield url(office)
        return
    with contextlib.ExitStack() as free:
        listeners = [free.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        https, plain, status = (each.getsockname()[1] for each in listeners)
    changes = {
        "listen 443": f"listen {https}", "listen 80": f"listen {plain}", "127.0.0.1:8090": f"127.0.0.1:{status}",
        "127.0.0.1:8025": f"127.0.0.1:{office.http_port}",
    }  # fmt: skip
    edge = Edge(tmp_path, changes=changes)
    edge.certify("first")
    edge.start()
    yield f"https://{DOMAIN}:{https}"
    edge.stop()
    log = (tmp_path / "access.log").read_text()
    assert f"/{INBOX}/stream" in log
    assert "ticket" not in log


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium is installed here")
def test_a_browser_has_signals_with_a_ticket_in_the_place_of_a_header(
    office: Office, site: Site, tmp_path: Path, front: str
) -> None:
    tickets = [office.call("POST", "/v1/tickets", {}).json["ticket"] for _ in range(2)]
    site.page = PAGE % json.dumps([front, INBOX, *tickets])
    alone = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={tmp_path}/p",
    )
    # The name leads nowhere, and its certificate is its own authority.
    trusting = (f"--host-resolver-rules=MAP {DOMAIN} 127.0.0.1", "--ignore-certificate-errors")
    argv = ["chromium", *alone, *trusting, site.url]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            heard: list[list[Any]] = []
            while not {"socket subscribed", "stream open"} <= {each[0] for each in heard}:
                heard.append(json.loads(site.next()[1]))
            office.send("to the browser")
            while not {"socket signal", "stream signal"} <= {each[0] for each in heard}:
                heard.append(json.loads(site.next()[1]))
        finally:
            browser.kill()
    assert ["socket signal", "to the browser"] in heard
    assert ["stream signal", "to the browser"] in heard
