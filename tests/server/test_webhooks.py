"""Webhooks against a receiver on loopback."""

from __future__ import annotations

import http.server
import ipaddress
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from office import INBOX, OTHER, Office, serving, settings

from restante.server.push import webhook
from restante.server.push.webhook import allowed, signature
from restante.server.settings import Settings, Webhooks


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


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def calling_loopback(folder: Path) -> Settings:
    allow = (ipaddress.IPv4Network("127.0.0.0/8"),)
    return settings(folder, webhooks=Webhooks(allow=allow, https_only=False))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with serving(calling_loopback(tmp_path)) as running:
        yield running


def deliveries(office: Office, hook: str) -> list[dict[str, Any]]:
    return list(office.call("GET", f"/v1/webhooks/{hook}/deliveries").json["items"])


def until(office: Office, hook: str, **wanted: Any) -> dict[str, Any]:
    """The newest delivery once it looks like this; asked for, since nothing tells of it."""
    for _ in range(300):
        items = deliveries(office, hook)
        if items and all(items[0][name] == value for name, value in wanted.items()):
            return items[0]
        threading.Event().wait(0.05)
    raise AssertionError(items)


def counted(office: Office, line: str) -> None:
    """The metric says so in the dispatcher's next round, of which nothing tells either."""
    for _ in range(300):
        shown = office.call("GET", "/metrics").raw.decode().splitlines()
        if line in shown:
            return
        threading.Event().wait(0.05)
    raise AssertionError([each for each in shown if each.startswith(line.split(maxsplit=1)[0])])


def told(receiver: Receiver, number: int) -> set[str]:
    """Subjects in the next so many calls, and the type of what is no mail."""
    events = [json.loads(receiver.heard.get(timeout=20)[1]) for _ in range(number)]
    return {event["data"].get("subject", event["type"]) for event in events}


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


def by_patch(office: Office, hook: str) -> None:
    assert office.call("PATCH", f"/v1/webhooks/{hook}", {"state": "active"}).json["state"] == "active"


def by_test(office: Office, hook: str) -> None:
    assert office.call("POST", f"/v1/webhooks/{hook}/test", {}).json["delivered"]


@pytest.mark.parametrize(("resume", "heard"), [(by_patch, {"one", "two"}), (by_test, {"test", "one", "two"})])
def test_the_last_try_pauses_and_what_waited_is_told_when_it_is_resumed(
    tmp_path: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    resume: Callable[[Office, str], None],
    heard: set[str],
) -> None:
    monkeypatch.setattr(webhook, "SCHEDULE_S", (0, 0.05, 0.05))
    with serving(calling_loopback(tmp_path)) as office:
        hook = office.call("POST", "/v1/webhooks", {"url": receiver.url}).json["id"]
        receiver.answers = [(500, {})] * 3
        office.send("one")
        assert until(office, hook, state="failed")["attempts"] == 3
        assert told(receiver, 3) == {"one"}
        counted(office, "restante_webhooks_paused 1.0")
    # A pause is in the store: a server that starts knows it, and the mail of meanwhile waits in the inbox.
    with serving(calling_loopback(tmp_path)) as office, receiving() as witness:
        shown = office.call("GET", f"/v1/webhooks/{hook}").json
        assert (shown["state"], shown["reason"]) == ("paused", "3 attempts failed, the last: answered 500")
        counted(office, "restante_webhooks_paused 1.0")
        office.call("POST", "/v1/webhooks", {"url": witness.url})
        office.send("two")
        assert told(witness, 1) == {"two"}, "the round that looks for new mail is over"
        assert [each["state"] for each in deliveries(office, hook)] == ["failed"]
        assert receiver.heard.empty()

        resume(office, hook)
        assert told(receiver, len(heard)) == heard
        until(office, hook, state="delivered")
        counted(office, "restante_webhooks_paused 0.0")
        assert office.call("GET", f"/v1/webhooks/{hook}").json["reason"] is None
        assert len(office.receive(max_messages=10)["items"]) == 2


def test_a_test_that_fails_resumes_nothing(office: Office, receiver: Receiver) -> None:
    hook = office.call("POST", "/v1/webhooks", {"url": receiver.url}).json["id"]
    office.call("PATCH", f"/v1/webhooks/{hook}", {"state": "paused"})
    receiver.answers = [(500, {})]
    assert not office.call("POST", f"/v1/webhooks/{hook}/test", {}).json["delivered"]
    assert office.call("GET", f"/v1/webhooks/{hook}").json["state"] == "paused"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 5), ("3600", 3600), ("1", 5), ("99999999", 86_400), (lambda: formatdate(time.time() + 3600, usegmt=True), 3600),
     (lambda: formatdate(time.time() - 3600, usegmt=True), 5), ("soon", 5), ("Thu, 01 Jan 2026 00:00:00 +99999999999999999", 5)],
    ids=["none", "an-hour", "sooner-than-the-schedule", "years", "a-date", "a-date-that-is-over", "words", "no-such-date"],
)  # fmt: skip
def test_the_next_attempt_is_no_sooner_than_the_receiver_and_the_schedule_say(
    office: Office, receiver: Receiver, header: str | Callable[[], str] | None, seconds: int
) -> None:
    hook = office.call("POST", "/v1/webhooks", {"url": receiver.url}).json["id"]
    sent = time.time()
    value = header() if callable(header) else header
    receiver.answers = [(503, {} if value is None else {"Retry-After": value})]
    office.send("one")
    waiting = until(office, hook, state="pending", attempts=1)
    assert waiting["last_error"] == "answered 503"
    whole = 1  # a date has no fractions of a second
    assert sent + seconds - whole <= waiting["next_at"] <= time.time() + seconds * (1 + webhook.JITTER)


def test_a_receiver_that_never_answers_has_failed_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 2)
    # The kernel takes the connection; nobody reads from it.
    with serving(calling_loopback(tmp_path)) as office, socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        hook = office.call("POST", "/v1/webhooks", {"url": url}).json["id"]
        sent = time.time()
        office.send("one")
        waiting = until(office, hook, state="pending", attempts=1)
        assert (waiting["status"], "Timeout" in waiting["last_error"]) == (None, True)
        assert waiting["next_at"] >= sent + 2 + 5, "the schedule goes on from the end of the attempt"


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
