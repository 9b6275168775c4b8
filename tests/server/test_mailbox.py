"""The SDK against a running post office: what an agent developer is promised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from office import INBOX, OTHER, Office, serving, settings

from restante import Mailbox
from restante.client.errors import ConfigurationError, RefusedError, UnauthorizedError


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with serving(settings(tmp_path_factory.mktemp("office"))) as made:
        yield made


@pytest.fixture
def make(office: Office) -> Iterator[Callable[..., Mailbox]]:
    """Mailboxes that are closed at the end, on an inbox that is emptied first."""
    made: list[Mailbox] = []
    while items := office.receive(max_messages=100)["items"]:
        office.ack(*(item["receipt_handle"] for item in items))

    def mailbox(**options: object) -> Mailbox:
        box = Mailbox(f"http://127.0.0.1:{office.http_port}", inbox=INBOX, token=office.token, **options)
        made.append(box)
        return box

    yield mailbox
    for each in made:
        each.close()


def settled(office: Office) -> bool:
    consumer = office.call("GET", f"/v1/inboxes/{INBOX}/consumers").json["items"][0]
    return bool(consumer["in_flight"] == consumer["waiting"] == consumer["new"] == 0)


def until(condition: Callable[[], object], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@pytest.mark.parametrize("push", [True, False])
@pytest.mark.parametrize("most", [1, 10])
def test_mail_is_handled_in_order_and_acknowledged(
    office: Office, make: Callable[..., Mailbox], push: bool, most: int
) -> None:
    box, seen = make(push=push, max_in_flight=most), []
    office.send(*(f"{number}" for number in range(25)))
    for delivery in box.consume():
        with delivery:
            seen.append((delivery.message.subject, delivery.attempt))
            if len(seen) == 25:
                office.send("last")
            if delivery.message.subject == "last":
                box.stop()
    assert seen == [*((f"{number}", 1) for number in range(25)), ("last", 1)]
    assert settled(office)
    assert box.figures.acknowledged == 26


def test_a_handler_that_fails_has_its_mail_again_later_with_the_reason_kept(
    office: Office, make: Callable[..., Mailbox], caplog: pytest.LogCaptureFixture
) -> None:
    box, attempts = make(nack_delay_s=0.05), []
    office.send("bad", "good")
    for delivery in box.consume():
        with delivery:
            attempts.append((delivery.message.subject, delivery.attempt))
            if delivery.message.subject == "bad" and delivery.attempt < 3:
                raise ValueError("not today")
        if len(attempts) == 4:
            box.stop()
    assert sorted(attempts) == [("bad", 1), ("bad", 2), ("bad", 3), ("good", 1)]
    assert settled(office)
    assert "not today" in caplog.text
    assert box.figures.failed == 2


def test_a_block_that_is_left_early_gives_back_uncounted(office: Office, make: Callable[..., Mailbox]) -> None:
    office.send("one", "two")
    box = make(max_in_flight=10)

    def interrupted() -> None:
        for delivery in box.consume():
            with delivery:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    again = office.receive()["items"]
    assert [(item["message"]["subject"], item["attempt"]) for item in again] == [("one", 1), ("two", 1)]
    office.ack(*(item["receipt_handle"] for item in again))


def test_a_lease_is_extended_while_the_handler_runs(office: Office, make: Callable[..., Mailbox]) -> None:
    box = make(lease_s=1)
    office.send("slow")
    for delivery in box.consume():
        with delivery:
            time.sleep(2.5)  # the handler's own work
            assert office.receive()["items"] == []
        box.stop()
    assert settled(office)


def test_a_handler_that_takes_too_long_loses_its_message_and_the_attempt_counts(
    office: Office, make: Callable[..., Mailbox]
) -> None:
    box = make(max_handling_s=0.3, nack_delay_s=0)
    office.send("stuck")
    for delivery in box.consume():
        with delivery:
            until(lambda each=delivery: each.settled)  # type: ignore[misc]
        box.stop()
    item = office.receive(wait_seconds=5)["items"][0]
    assert (item["message"]["subject"], item["attempt"]) == ("stuck", 2)
    assert box.figures.overran == 1
    office.ack(item["receipt_handle"])


def test_a_worker_that_comes_back_has_its_own_at_once(office: Office, make: Callable[..., Mailbox]) -> None:
    office.send("held")
    first = make(worker="same", lease_s=600)._hands.receive(1, 0, "a")[0]
    assert first[0].attempt == 1
    assert make(worker="other").receive() == []
    box = make(worker="same")
    for delivery in box.consume():
        with delivery:
            assert (delivery.message.subject, delivery.attempt) == ("held", 2)
        box.stop()


def test_wait_for_reads_and_leaves_the_mail_where_it_is(office: Office, make: Callable[..., Mailbox]) -> None:
    box = make()
    mark = box.head()
    office.send("Your code is 1234", "other")
    found = box.wait_for(subject="your code", since=mark, timeout=10)
    assert found.subject == "Your code is 1234"
    assert found.text.strip() == "hello"
    assert [message.subject for message in box.messages(cursor=mark)] == ["Your code is 1234", "other"]
    with pytest.raises(TimeoutError, match="no mail about nothing"):
        box.wait_for(subject="nothing", since=mark, timeout=0)
    assert len(box.receive()) == 2


def test_raw_and_attachments_come_as_files(office: Office, make: Callable[..., Mailbox], tmp_path: Path) -> None:
    box = make()
    mark = box.head()
    parts = 'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nhi\r\n--b\r\nContent-Type: text/plain\r\n'
    body = "Content-Disposition: attachment; filename=a.txt\r\n\r\n" + "x" * 100_000 + "\r\n--b--"
    office.send("with", text="")
    import smtplib

    with smtplib.SMTP("127.0.0.1", office.smtp_port) as smtp:
        smtp.sendmail("a@example.net", [INBOX], f"Subject: attached\r\n{parts}{body}\r\n")
    message = box.wait_for(subject="attached", since=mark)
    attachment = message.attachments[0]
    saved = box.save_attachment(message, attachment, tmp_path / "a.txt")
    assert saved.read_text().strip() == "x" * 100_000
    assert list(tmp_path.iterdir()) == [saved]
    assert box.raw(message.id).startswith(b"Subject: attached\r\n")
    for each in box.receive():
        each.ack()


def test_listen_tells_of_mail_and_takes_none(office: Office, make: Callable[..., Mailbox]) -> None:
    box, heard = make(), []

    def callback(signal: object) -> None:
        heard.append(signal["subject"])  # type: ignore[index]
        if len(heard) == 2:
            box.stop()

    thread = threading.Thread(target=box.listen, args=(callback,))
    thread.start()
    until(lambda: box.health().ok)
    office.send("one", "two")
    thread.join(10)
    assert heard == ["one", "two"]
    assert len(box.receive()) == 2


def test_signals_bring_mail_at_once_and_are_counted(office: Office, make: Callable[..., Mailbox]) -> None:
    box, seen = make(reconcile_s=600), []

    def consume() -> None:
        for delivery in box.consume():
            with delivery:
                seen.append(delivery.message.subject)

    thread = threading.Thread(target=consume)
    thread.start()
    until(lambda: box.health().ok)
    office.send("one", "two", "three")
    until(lambda: len(seen) == 3)
    box.stop()
    thread.join()
    assert box.figures.found_by_socket + len(box._subscription._found._unsure) == 3
    assert box.figures.channel == "websocket"


def test_an_inbox_is_made_once_for_one_client_id(make: Callable[..., Mailbox]) -> None:
    box = make()
    first, again = (box.create_inbox("crm-7", username="crm") for _ in range(2))
    assert first["inbox_id"] == again["inbox_id"] == "crm@example.org"


def test_a_batch_of_before_a_restore_does_not_end_a_consumer(office: Office, make: Callable[..., Mailbox]) -> None:
    office.send("one")
    seen = []
    for delivery in make(push=False).consume():
        with delivery:
            seen.append(delivery.message.subject)
            if len(seen) == 1:
                office.run(office.office.post.store.new_epoch())
                office.send("after")
        if seen[-1] == "after":
            break
    assert seen[0] == "one"


def test_dead_letters_come_again(office: Office, make: Callable[..., Mailbox]) -> None:
    box = make(nack_delay_s=0)
    office.send("dies")
    for _ in range(5):
        for delivery in box.receive(wait_s=5):
            delivery.nack(0, "no")
    assert box.receive() == []
    assert box.redrive() == 1
    assert [(each.message.subject, each.attempt) for each in box.receive(wait_s=5)] == [("dies", 1)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"inbox": "a@b", "token": "x"}, "no post office is named"),
        ({"url": "mail.example.org", "inbox": "a@b", "token": "x"}, "is no URL of a post office"),
        ({"url": "http://x", "token": "x"}, "no inbox is named"),
        ({"url": "http://x", "inbox": "a@b"}, "there is no token"),
    ],
)
def test_what_is_missing_is_said(given: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESTANTE_URL", "RESTANTE_INBOX", "RESTANTE_TOKEN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=sentence):
        Mailbox(**given)  # type: ignore[arg-type]


def test_a_wrong_token_and_another_s_inbox_end_it_with_a_sentence(office: Office, make: Callable[..., Mailbox]) -> None:
    url = f"http://127.0.0.1:{office.http_port}"
    with Mailbox(url, inbox=INBOX, token="wrong") as box, pytest.raises(UnauthorizedError, match="token"):
        next(iter(box.consume()))
    narrow = office.make_token({OTHER: ["receive"]})
    with Mailbox(url, inbox=INBOX, token=narrow) as box, pytest.raises(RefusedError, match="there is no inbox"):
        next(iter(box.consume()))


AGENT = """
import sys, time
from restante import Mailbox
for delivery in Mailbox().consume():
    with delivery:
        print(delivery.message.subject, flush=True)
        time.sleep(60)
"""


def test_sigterm_leaves_the_handler_and_gives_its_mail_back_uncounted(
    office: Office, make: Callable[..., Mailbox]
) -> None:
    make()
    office.send("under way")
    environment = {
        **os.environ,
        "RESTANTE_URL": f"http://127.0.0.1:{office.http_port}",
        "RESTANTE_INBOX": INBOX,
        "RESTANTE_TOKEN": office.token,
    }
    with subprocess.Popen([sys.executable, "-c", AGENT], stdout=subprocess.PIPE, text=True, env=environment) as agent:
        assert agent.stdout
        assert agent.stdout.readline() == "under way\n"
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    item = office.receive()["items"][0]
    assert item["attempt"] == 1
    office.ack(item["receipt_handle"])
