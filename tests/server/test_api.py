"""The HTTP API, on a running server."""

from __future__ import annotations

import smtplib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from office import INBOX, OTHER, Office

from restante.server.api.context import ApiError
from restante.server.push import hub
from restante.server.store.base import StoreError


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
    assert (refused.status, refused.json["error"]["code"]) == (400, "unknown_batch")
    assert office.ack(held, verb="nack") == ["ok"], "it is still held: nothing was acknowledged"


def test_a_guessed_or_altered_handle_is_unknown(office: Office) -> None:
    office.send("one")
    handle = office.receive()["items"][0]["receipt_handle"]
    altered = ("B" if handle[20] == "A" else "A").join([handle[:20], handle[21:]])
    assert office.ack(altered, "A" * 48, "", inbox=INBOX) == ["unknown"] * 3
    assert office.ack(handle, inbox=OTHER) == ["unknown"]
    assert office.ack(handle) == ["ok"]


def test_what_was_handed_out_before_history_was_rewritten_acknowledges_nothing_after_it(office: Office) -> None:
    office.send("one")
    before = office.receive(consumer="default")
    office.run(office.office.post.store.new_epoch())
    assert office.ack(before["items"][0]["receipt_handle"]) == ["unknown"]
    refused = office.call("POST", f"/v1/inboxes/{INBOX}/receive", {"ack_batch": before["batch"]})
    assert refused.json["error"]["code"] == "unknown_batch"
    assert office.call("GET", f"/v1/inboxes/{INBOX}/consumers").json["items"][0]["in_flight"] == 1


def test_an_inbox_that_is_made_again_has_no_id_and_no_handle_of_the_one_before(office: Office) -> None:
    office.send("one")
    before = office.receive()["items"][0]
    assert office.call("DELETE", f"/v1/inboxes/{INBOX}?force=true").status == 200
    assert office.call("POST", "/v1/inboxes", {"username": "support", "domain": "example.org"}).status == 201
    office.send("two")
    after = office.receive()["items"][0]
    assert after["message"]["id"] != before["message"]["id"]
    assert office.ack(before["receipt_handle"]) == ["unknown"]
    assert office.ack(after["receipt_handle"]) == ["ok"]


def test_a_consumer_that_is_made_again_is_not_settled_by_a_handle_of_the_one_before(office: Office) -> None:
    office.send("one")

    def handed_out() -> str:
        office.call("POST", f"/v1/inboxes/{INBOX}/consumers", {"name": "audit", "start": "earliest"})
        return str(office.receive(consumer="audit")["items"][0]["receipt_handle"])

    before = handed_out()
    office.call("DELETE", f"/v1/inboxes/{INBOX}/consumers/audit")
    after = handed_out()
    assert office.ack(before) != ["ok"]
    assert office.ack(after) == ["ok"]


def test_a_message_that_took_a_number_after_a_restore_has_an_id_of_its_own(office: Office) -> None:
    office.send("one")
    shown = office.call("GET", f"/v1/inboxes/{INBOX}/messages").json["items"][0]
    other = f"{shown['id'][:-8]}{int(shown['id'][-8:], 16) ^ 1:08x}"
    assert office.call("GET", f"/v1/inboxes/{INBOX}/messages/{shown['id']}").status == 200
    missing = office.call("GET", f"/v1/inboxes/{INBOX}/messages/{other}")
    assert (missing.status, missing.json["error"]["code"]) == (404, "not_found")


def test_a_repeat_names_the_first_by_its_id(office: Office) -> None:
    raw = b"From: a@example.net\r\nMessage-ID: <1@example.net>\r\nSubject: again\r\n\r\nhello\r\n"
    with smtplib.SMTP("127.0.0.1", office.smtp_port) as smtp:
        for _ in range(2):
            smtp.sendmail("a@example.net", [INBOX], raw)
    first, second = office.call("GET", f"/v1/inboxes/{INBOX}/messages").json["items"]
    assert (first["duplicate_of"], second["duplicate_of"]) == (None, first["id"])


def test_dead_letters_that_nobody_needs_are_settled(office: Office) -> None:
    office.call("PATCH", f"/v1/inboxes/{INBOX}", {"attempts": 1})
    office.send("poison", "good")
    for item in office.receive()["items"]:
        office.ack(item["receipt_handle"], verb="nack" if item["message"]["subject"] == "poison" else "ack")
    assert office.call("POST", f"/v1/inboxes/{INBOX}/dead-letters/discard", {}).status == 400
    done = office.call("POST", f"/v1/inboxes/{INBOX}/dead-letters/discard", {"since": 0})
    assert done.json == {"discarded": 1}
    assert office.call("GET", f"/v1/inboxes/{INBOX}/dead-letters").json["items"] == []
    assert office.receive()["remaining"] == 0


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
    assert f'restante_oldest_unacknowledged_seconds{{consumer="default",inbox="{INBOX}"}}' in shown
    assert "restante_store_up 1.0" in shown
    office.ack(office.receive()["items"][0]["receipt_handle"])
    shown = office.call("GET", "/metrics").raw.decode()
    assert f'inbox="{INBOX}"' not in shown, "ten thousand inboxes for which nothing waits are no thirty thousand lines"


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


CREATES = [
    ("/v1/inboxes", {}, "inbox_id"),
    (f"/v1/inboxes/{INBOX}/consumers", {"name": "audit"}, "name"),
    ("/v1/webhooks", {"url": "http://192.0.2.1/hook"}, "id"),
    ("/v1/tokens", {"name": "x", "admin": True}, "id"),
]


@pytest.mark.parametrize(("path", "body", "name"), CREATES)
def test_a_create_that_comes_again_under_its_key_makes_nothing_twice(
    office: Office, path: str, body: dict[str, Any], name: str
) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(office.call, "POST", path, body, {"Idempotency-Key": "k"}) for _ in range(8)]
    answers = [each.result() for each in asked]
    assert {each.status for each in answers} == {201}
    assert len({each.json[name] for each in answers}) == 1
    shown = [each.json for each in answers if {"token", "secret"} & each.json.keys()]
    assert len(shown) == (1 if path in {"/v1/webhooks", "/v1/tokens"} else 0), "a secret is shown once, and not kept"


def test_a_ticket_opens_one_connection_whichever_server_it_comes_to(office: Office) -> None:
    ticket = office.call("POST", "/v1/tickets").json["ticket"]
    first, other = office.office.post, replace(office.office.post)
    assert office.run(first.redeem(ticket)).admin
    with pytest.raises(ApiError, match="used"):
        office.run(other.redeem(ticket))


@pytest.mark.parametrize(
    "metadata", ['{"k": 18446744073709551616}', '{"k": "\\ud800"}', f'{{"k": {"[" * 300}1{"]" * 300}}}']
)
def test_metadata_that_nobody_could_be_shown_is_refused(office: Office, metadata: str) -> None:
    refused = office.call("POST", "/v1/inboxes", f'{{"metadata": {metadata}}}'.encode())
    assert (refused.status, refused.json["error"]["code"]) == (400, "invalid_request")
    assert office.call("GET", "/v1/inboxes").status == 200


def test_a_nul_in_an_address_is_refused(office: Office) -> None:
    for path in ("/v1/inboxes/%00", "/v1/webhooks/%00", "/v1/tokens/%00"):
        refused = office.call("DELETE", path)
        assert (refused.status, refused.json["error"]["code"]) == (400, "invalid_request")


def test_a_failure_has_the_shape_of_every_refusal(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(office.office.post.store, "inboxes", broken)
    failed = office.call("GET", "/v1/inboxes")
    assert (failed.status, failed.json["error"]["code"]) == (500, "internal")
    assert failed.json["error"]["request_id"] == failed.headers["x-request-id"]
    assert b"secret" not in failed.raw


def test_the_log_says_who_was_refused_and_why(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    made = office.call("POST", "/v1/tokens", {"name": "x", "scopes": {OTHER: ["receive"]}}).json
    with caplog.at_level("INFO", "restante.http"):
        office.as_(made["token"]).call("POST", f"/v1/inboxes/{INBOX}/receive", {})
    assert f"by token {made['id']}: 404 not_found, there is no inbox {INBOX}" in caplog.text
    assert made["token"] not in caplog.text


def test_a_recovery_is_not_cut_short_by_other_inboxes_mail(office: Office) -> None:
    made = office.call("POST", "/v1/webhooks", {"url": "http://192.0.2.1/", "inbox_ids": [OTHER]}).json
    office.send("theirs", "theirs", "theirs")
    office.send("mine", to=OTHER)
    assert office.call("POST", f"/v1/webhooks/{made['id']}/recover", {"since": 0}).json == {"recovering": 1}


def test_nobody_waits_for_a_store_that_is_away(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def authenticate(text: str) -> None:
        asked.append(text)

    with monkeypatch.context() as broken:
        broken.setattr(hub, "STALE_S", -1)
        broken.setattr(office.office.post.store, "authenticate", authenticate)
        refused = office.call("POST", f"/v1/inboxes/{INBOX}/receive", {})
        assert (refused.status, refused.json["error"]["code"], asked) == (503, "unavailable", [])
    assert office.call("POST", f"/v1/inboxes/{INBOX}/receive", {}).status == 200


def test_a_store_that_went_away_is_noticed_though_nobody_listens(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreError("away")

    def until_it_answers(wanted: int) -> None:
        deadline = time.monotonic() + 20
        while office.call("POST", f"/v1/inboxes/{INBOX}/receive", {}).status != wanted:
            assert time.monotonic() < deadline, wanted

    monkeypatch.setattr(hub, "STALE_S", 3)  # above the two seconds between polls
    with monkeypatch.context() as broken:
        broken.setattr(office.office.post.store, "moved", away)
        until_it_answers(503)
    until_it_answers(200)
