"""The HTTP API, on a running server."""

from __future__ import annotations

import smtplib
import threading
import time

import pytest
from office import INBOX, OTHER, Office


def test_mail_waits_until_it_is_received_and_acknowledged(office: Office) -> None:
    office.send("one", "two")
    batch = office.receive(max_messages=1)
    assert [item["message"]["subject"] for item in batch["items"]] == ["one"]
    assert (batch["remaining"], batch["has_more"]) == (1, True)
    message = batch["items"][0]["message"]
    assert message["from"] == {"name": "A", "address": "a@example.net"}
    assert message["text"] == "hello\n"
    assert message["delivered_to"] == INBOX
    assert office.ack(batch["items"][0]["receipt_handle"]) == ["ok"]
    following = office.receive()
    assert [item["message"]["subject"] for item in following["items"]] == ["two"]
    assert office.receive()["items"] == []


def test_reading_is_not_receiving(office: Office) -> None:
    office.send("one", "two", "three")
    page = office.call("GET", f"/v1/inboxes/{INBOX}/messages?limit=2").json
    assert [item["subject"] for item in page["items"]] == ["one", "two"]
    rest = office.call("GET", f"/v1/inboxes/{INBOX}/messages?cursor={page['next_cursor']}").json
    assert [item["subject"] for item in rest["items"]] == ["three"]
    assert rest["next_cursor"] is None
    raw = office.call("GET", f"/v1/inboxes/{INBOX}/messages/{page['items'][0]['id']}/raw")
    assert b"Subject: one\r\n" in raw.raw
    assert raw.headers["x-content-type-options"] == "nosniff"
    assert raw.headers["content-disposition"].startswith("attachment")
    assert len(office.receive()["items"]) == 3


def test_a_long_poll_answers_when_mail_comes(office: Office) -> None:
    timer = threading.Timer(0.3, office.send, ["late"])
    timer.start()
    before = time.monotonic()
    batch = office.receive(wait_seconds=20)
    timer.join()
    assert [item["message"]["subject"] for item in batch["items"]] == ["late"]
    assert time.monotonic() - before < 15, "it was told, it did not wait for the end"


def test_a_long_poll_answers_when_a_nack_brings_mail_back(office: Office) -> None:
    office.send("one")
    handle = office.receive()["items"][0]["receipt_handle"]
    timer = threading.Timer(0.2, lambda: office.ack(handle, verb="nack", reason="try later"))
    timer.start()
    assert office.receive(wait_seconds=20)["items"][0]["attempt"] == 2
    timer.join()


def test_the_batch_of_a_lost_answer_comes_again_and_ack_batch_settles_it(office: Office) -> None:
    office.send("one", "two")
    lost = office.receive(attempt_id="a1")
    again = office.receive(attempt_id="a1")
    assert [item["receipt_handle"] for item in again["items"]] == [item["receipt_handle"] for item in lost["items"]]
    assert office.receive(ack_batch=again["batch"])["items"] == []
    assert office.call("GET", "/v1/ledger").json["acked"] >= 2
    refused = office.call("POST", f"/v1/inboxes/{INBOX}/receive", {"ack_batch": "x" * 48})
    assert (refused.status, refused.json["error"]["code"]) == (400, "unknown_batch")


def test_a_batch_of_another_inbox_acknowledges_nothing_here(office: Office) -> None:
    office.send("mine")
    office.send("theirs", to=OTHER)
    theirs = office.receive(OTHER)["batch"]
    held = office.receive()["items"][0]["receipt_handle"]
    refused = office.call("POST", f"/v1/inboxes/{INBOX}/receive", {"ack_batch": theirs})
    assert (refused.status, refused.json["error"]["code"]) == (404, "not_found")
    assert office.ack(held, verb="nack") == ["ok"], "it is still held: nothing was acknowledged"


def test_a_guessed_or_altered_handle_is_unknown(office: Office) -> None:
    office.send("one")
    handle = office.receive()["items"][0]["receipt_handle"]
    altered = ("B" if handle[20] == "A" else "A").join([handle[:20], handle[21:]])
    assert office.ack(altered, "A" * 48, "", inbox=INBOX) == ["unknown"] * 3
    assert office.ack(handle, inbox=OTHER) == ["unknown"]
    assert office.ack(handle) == ["ok"]


def test_dead_letters_are_shown_and_redriven(office: Office) -> None:
    assert office.call("PATCH", f"/v1/inboxes/{INBOX}", {"attempts": 1}).json["attempts"] == 1
    office.send("poison")
    handle = office.receive()["items"][0]["receipt_handle"]
    assert office.ack(handle, verb="nack", reason="it breaks the parser") == ["ok"]
    found = office.call("GET", f"/v1/inboxes/{INBOX}/dead-letters").json["items"]
    assert [(each["last_error"], each["attempts"]) for each in found] == [("it breaks the parser", 1)]
    body = {"ids": [found[0]["message"]["id"]]}
    assert office.call("POST", f"/v1/inboxes/{INBOX}/dead-letters/redrive", body).json == {"redriven": 1}
    assert office.receive()["items"][0]["attempt"] == 1


def test_a_token_opens_its_own_inboxes_and_nothing_else(office: Office) -> None:
    office.send("one")
    agent = office.as_(office.make_token({INBOX: ["receive"]}))
    assert len(agent.receive()["items"]) == 1
    for method, path, status in (
        ("POST", f"/v1/inboxes/{OTHER}/receive", 404),
        ("GET", f"/v1/inboxes/{OTHER}", 404),
        ("GET", f"/v1/inboxes/{INBOX}/messages", 403),
        ("DELETE", f"/v1/inboxes/{INBOX}?force=true", 403),
        ("GET", "/v1/tokens", 403),
        ("GET", "/v1/ledger", 403),
        ("POST", "/v1/backups", 403),
    ):
        assert agent.call(method, path, {} if method == "POST" else None).status == status, path
    assert [each["inbox_id"] for each in agent.call("GET", "/v1/inboxes").json["items"]] == [INBOX]


def test_a_revoked_token_is_refused_at_once(office: Office) -> None:
    token = office.make_token({"*": ["read"]})
    agent = office.as_(token)
    assert agent.call("GET", "/v1/inboxes").status == 200
    assert office.call("DELETE", f"/v1/tokens/{token.split('_')[1]}").status == 200
    refused = agent.call("GET", "/v1/inboxes")
    assert (refused.status, refused.json["error"]["code"]) == (401, "unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "receive", {"wait_seconds": 1e9}, 400, "invalid_request"),
        ("POST", "receive", {"max_messages": 101}, 400, "invalid_request"),
        ("POST", "receive", {"frobnicate": 1}, 400, "invalid_request"),
        ("POST", "receive", b"{not json", 400, "invalid_request"),
        ("POST", "receive", b"\xff\xfe", 400, "invalid_request"),
        ("POST", "receive", {"consumer": "typo"}, 404, "not_found"),
        ("POST", "ack", {"receipt_handles": []}, 400, "invalid_request"),
        ("POST", "ack", {"receipt_handles": ["x"] * 1001}, 400, "invalid_request"),
        ("POST", "ack", b"x" * (1 << 20) + b"xx", 413, "too_large"),
        ("GET", "messages?cursor=nonsense", None, 400, "invalid_cursor"),
        ("GET", "messages?cursor=00000000:1", None, 410, "epoch_changed"),
        ("GET", "messages/msg_0000000100000000ffff", None, 404, "not_found"),
        ("GET", "messages/..%2f..%2fetc", None, 404, "not_found"),
        ("POST", "dead-letters/redrive", {}, 400, "invalid_request"),
        ("PUT", "messages", None, 405, "method_not_allowed"),
        ("GET", "nothing", None, 404, "not_found"),
    ],
)
def test_what_is_wrong_is_refused_with_one_shape(
    office: Office, method: str, path: str, body: object, status: int, code: str
) -> None:
    refused = office.call(method, f"/v1/inboxes/{INBOX}/{path}", body)
    assert (refused.status, refused.json["error"]["code"]) == (status, code)
    assert set(refused.json["error"]) == {"code", "message", "request_id", "details"}
    assert refused.json["error"]["request_id"] == refused.headers["x-request-id"]


def test_without_a_token_only_probes_answer_and_only_to_the_host_itself(office: Office) -> None:
    nobody = office.as_("")
    assert nobody.call("GET", "/v1/inboxes").status == 401
    for path in ("/healthz", "/readyz", "/metrics"):
        assert nobody.call("GET", path).status == 200
        assert nobody.call("GET", path, headers={"X-Forwarded-For": "192.0.2.1"}).status == 401, (
            "it came through the edge"
        )
    assert nobody.call("GET", "/readyz").json["durability"] == {"journal_mode": "wal", "synchronous": "full"}


def test_creation_is_idempotent_by_client_id_and_by_key(office: Office) -> None:
    body = {"username": "New", "client_id": "c1"}
    assert [office.call("POST", "/v1/inboxes", body).status for _ in range(2)] == [201, 200]
    key = {"Idempotency-Key": "k1"}
    first, again = (office.call("POST", "/v1/inboxes", {}, key) for _ in range(2))
    assert (first.status, first.json) == (again.status, again.json)
    assert office.call("POST", "/v1/inboxes", {"username": "other"}, key).status == 422
    assert (
        office.call("POST", "/v1/inboxes", {"username": "x", "domain": "elsewhere.example"}).json["error"]["code"]
        == "unknown_domain"
    )
    assert office.call("POST", "/v1/inboxes", {"username": "a b"}).status == 400


def test_consumers_go_their_own_ways_and_can_be_set_back(office: Office) -> None:
    office.send("one", "two")
    consumers = f"/v1/inboxes/{INBOX}/consumers"
    made = office.call("POST", consumers, {"name": "audit", "start": "earliest"})
    assert (made.status, made.json["new"]) == (201, 2)
    assert len(office.receive()["items"]) == len(office.receive(consumer="audit")["items"]) == 2
    assert office.call("POST", f"{consumers}/audit/seek", {"cursor": "earliest"}).status == 200
    assert len(office.receive(consumer="audit")["items"]) == 2
    assert office.call("DELETE", f"{consumers}/audit").status == 200
    assert office.call("DELETE", f"{consumers}/default").status == 409


def test_an_attachment_is_served_so_that_nothing_runs_it(office: Office) -> None:
    page = (
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\n"
        'Content-Type: text/html\r\nContent-Disposition: attachment; filename="../x.html"\r\n\r\n<script>alert(1)</script>\r\n--b--\r\n'
    )
    with smtplib.SMTP("127.0.0.1", office.smtp_port) as smtp:
        smtp.sendmail("a@example.net", [INBOX], f"Subject: page\r\n{page}")
    message = office.receive()["items"][0]["message"]
    [attached] = message["attachments"]
    assert (attached["content_type"], "/" in attached["filename"]) == ("text/html", False)
    found = office.call("GET", f"/v1/inboxes/{INBOX}/messages/{message['id']}/attachments/{attached['attachment_id']}")
    assert found.raw.startswith(b"<script>")
    assert found.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in found.headers["content-security-policy"]


def test_metrics_say_how_old_the_oldest_unacknowledged_mail_is(office: Office) -> None:
    office.send("one")
    shown = office.call("GET", "/metrics").raw.decode()
    assert f'restante_unacknowledged{{consumer="default",inbox="{INBOX}"}} 1.0' in shown
    assert "restante_oldest_unacknowledged_seconds" in shown
    assert "restante_store_up 1.0" in shown


def test_a_backup_is_whole_and_a_restore_changes_the_epoch(office: Office) -> None:
    from pathlib import Path

    from restante.server.backup import copies

    office.send("one")
    made = office.call("POST", "/v1/backups", {}).json
    path = Path(made["directory"]) / made["file"]
    assert copies.verify(path).messages == 1
    target = path.parent / "elsewhere" / "store.sqlite"
    copies.restore(path, target)
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    with pytest.raises(Exception, match="not what was written"):
        copies.verify(path)


def test_mail_of_24_mib_and_mail_in_eight_bits_comes_out_as_it_went_in(office: Office) -> None:
    large = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 62 * 1024 * 24 + b"\r\n..dots\r\n.\xff\x00\r\n"
    utf8 = "Subject: grüße\r\n\r\nGrüße \U0001f4ec\r\n".encode()
    with smtplib.SMTP("127.0.0.1", office.smtp_port) as smtp:
        smtp.sendmail("a@example.net", [INBOX], large)
        smtp.sendmail("ü@example.net", [INBOX], utf8, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    first, second = (item["message"] for item in office.receive()["items"])
    for message, sent in ((first, large), (second, utf8)):
        assert office.call("GET", f"/v1/inboxes/{INBOX}/messages/{message['id']}/raw").raw == sent
    assert (second["subject"], second["envelope_from"]) == ("grüße", "ü@example.net")


def test_a_bounce_is_automated_and_a_broken_mail_is_delivered_raw(office: Office) -> None:
    with smtplib.SMTP("127.0.0.1", office.smtp_port) as smtp:
        smtp.sendmail("", [INBOX], b"Subject: failed\r\n\r\nsorry\r\n")
        smtp.sendmail("a@example.net", [INBOX], b"Content-Type: multipart/mixed\r\n\r\n\x00\xff")
    bounce, broken = (item["message"] for item in office.receive()["items"])
    assert bounce["automated"]
    assert broken["parse_error"]
