"""Webhooks against a receiver on loopback."""

from __future__ import annotations

import http.server
import ipaddress
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from office import INBOX, OTHER, Office, serving, settings

from restante.server.push.webhook import allowed, signature
from restante.server.settings import Webhooks


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what came, and answers what `answers` says, else 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.server.heard.put(({key.lower(): value for key, value in self.headers.items()}, body))

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    allow = (ipaddress.IPv4Network("127.0.0.0/8"),)
    with serving(settings(tmp_path, webhooks=Webhooks(allow=allow, https_only=False))) as running:
        yield running


def until(office: Office, webhook: str, **wanted: Any) -> dict[str, Any]:
    """The newest delivery once it looks like this; asked for, since nothing tells of it."""
    for _ in range(300):
        items = office.call("GET", f"/v1/webhooks/{webhook}/deliveries").json["items"]
        if items and all(items[0][name] == value for name, value in wanted.items()):
            return dict(items[0])
        threading.Event().wait(0.05)
    raise AssertionError(items)


def test_a_webhook_is_told_with_a_signature_that_holds(office: Office, receiver: Receiver) -> None:
    hook = office.call("POST", "/v1/webhooks", {"url": receiver.url, "inbox_ids": [INBOX]}).json
    office.send("elsewhere", to=OTHER)
    office.send("one")
    headers, body = receiver.heard.get(timeout=20)
    event = json.loads(body)
    assert (event["type"], event["data"]["subject"], len(body) < 20_000) == ("message.received", "one", True)
    expected = signature(hook["secret"], headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == expected
    until(office, hook["id"], state="delivered", status=204)
    assert receiver.heard.empty(), "the other inbox's mail is not its business"
    assert "secret" not in office.call("GET", f"/v1/webhooks/{hook['id']}").json
    assert len(office.receive()["items"]) == 1, "a webhook delivers nothing"


def test_a_failure_is_tried_again_and_410_pauses(office: Office, receiver: Receiver) -> None:
    hook = office.call("POST", "/v1/webhooks", {"url": receiver.url}).json["id"]
    receiver.answers = [(500, {})]
    office.send("one")
    receiver.heard.get(timeout=20)
    waiting = until(office, hook, state="pending", attempts=1)
    assert waiting["last_error"] == "answered 500"
    receiver.answers = [(410, {})]
    receiver.heard.get(timeout=20)
    until(office, hook, state="failed")
    shown = office.call("GET", f"/v1/webhooks/{hook}").json
    assert (shown["state"], shown["reason"]) == ("paused", "it answered 410 Gone")
    assert office.call("PATCH", f"/v1/webhooks/{hook}", {"state": "active"}).json["state"] == "active"
    receiver.heard.get(timeout=20)
    until(office, hook, state="delivered")


def test_a_redirect_is_refused_and_a_test_says_so(office: Office, receiver: Receiver) -> None:
    hook = office.call("POST", "/v1/webhooks", {"url": receiver.url}).json["id"]
    receiver.answers = [(302, {"Location": "http://169.254.169.254/"})]
    assert office.call("POST", f"/v1/webhooks/{hook}/test", {}).json == {
        "status": 302,
        "error": "answered 302",
        "delivered": False,
    }
    assert office.call("POST", f"/v1/webhooks/{hook}/test", {}).json["delivered"]


def test_both_secrets_sign_during_a_rotation(office: Office, receiver: Receiver) -> None:
    made = office.call("POST", "/v1/webhooks", {"url": receiver.url}).json
    fresh = office.call("POST", f"/v1/webhooks/{made['id']}/rotate-secret", {}).json["secret"]
    office.call("POST", f"/v1/webhooks/{made['id']}/test", {})
    headers, body = receiver.heard.get(timeout=20)
    name, moment = headers["webhook-id"], int(headers["webhook-timestamp"])
    assert headers["webhook-signature"].split() == [
        signature(secret, name, moment, body) for secret in (fresh, made["secret"])
    ]


def test_recover_sends_a_time_range_again(office: Office, receiver: Receiver) -> None:
    hook = office.call("POST", "/v1/webhooks", {"url": receiver.url}).json["id"]
    office.send("one")
    first = receiver.heard.get(timeout=20)[0]["webhook-id"]
    until(office, hook, state="delivered")
    assert office.call("POST", f"/v1/webhooks/{hook}/recover", {"since": 0}).json == {"recovering": 1}
    assert receiver.heard.get(timeout=20)[0]["webhook-id"] == first, "the same id, so that the receiver knows it"


def test_private_addresses_are_refused_whatever_the_name(tmp_path: Path, receiver: Receiver) -> None:
    with serving(settings(tmp_path)) as office:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
            url = receiver.url.replace("127.0.0.1", host)
            hook = office.call("POST", "/v1/webhooks", {"url": url}).json["id"]
            found = office.call("POST", f"/v1/webhooks/{hook}/test", {}).json
            assert not found["delivered"], host
    assert receiver.heard.empty()


@pytest.mark.parametrize(
    ("address", "expected"),
    [("93.184.216.34", True), ("2606:2800:220:1::1", True), ("10.0.0.1", False), ("169.254.169.254", False), ("192.0.2.1", False),
     ("198.51.100.7", True), ("::1", False), ("::ffff:10.0.0.1", False), ("2002:a00:1::1", False), ("64:ff9b::a00:1", False),
     ("fe80::1%eth0", False), ("224.0.0.1", False), ("0.0.0.0", False), ("100.64.0.1", False)],
)  # fmt: skip
def test_which_addresses_may_be_called(address: str, expected: bool) -> None:
    assert allowed(address, [ipaddress.ip_network("198.51.100.0/24")]) is expected
