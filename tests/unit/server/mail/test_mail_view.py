"""A mail as an agent reads it."""

from __future__ import annotations

import email
import json
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mail_scan import JUNK

from restante.server.mail.contents import TEXT_LIMIT
from restante.server.mail.view import attachment, view

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=200)


def composed(text: str, html: str | None, files: list[tuple[str, bytes]]) -> bytes:
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = "Ann <ann@example.org>", "agent@example.net", "Grüße"
    mail["Date"], mail["Message-ID"] = "Mon, 23 Nov 2026 09:33:22 +0100", "<2@example.org>"
    mail["In-Reply-To"], mail["References"] = "<1@example.org>", "<0@example.org> <1@example.org>"
    mail.set_content(text)
    if html is not None:
        mail.add_alternative(html, subtype="html")
    for name, content in files:
        mail.add_attachment(content, maintype="application", subtype="pdf", filename=name)
    return mail.as_bytes()


@given(JUNK)
def test_any_bytes_are_shown_and_none_finds_a_fault_of_ours(raw: bytes) -> None:
    found = view(raw)
    assert "could not be parsed" not in (found["parse_error"] or "")
    json.dumps(found, ensure_ascii=False).encode()
    for one in found["attachments"]:
        kind, name, content = attachment(raw, one["attachment_id"]) or ("", "", b"")
        assert (kind, name, len(content)) == (one["content_type"], one["filename"], one["size"])
        assert name
        assert not set(name) & set('/\\:"\r\n\0')


@given(JUNK)
def test_any_fault_leaves_subject_and_sender(raw: bytes) -> None:
    assert view(b"From: a@example.org\r\nSubject: s\r\n" + raw)["subject"].startswith("s")


@given(
    text=WORDS,
    html=st.none() | WORDS,
    files=st.lists(st.tuples(st.just("a b.pdf"), st.binary(max_size=100)), max_size=3),
)
def test_what_was_composed_is_what_is_read(text: str, html: str | None, files: list[tuple[str, bytes]]) -> None:
    raw = composed(text, html, files)
    found = view(raw)
    standard = email.message_from_bytes(raw, policy=SMTP)
    for kind in ("plain", "html"):
        body = standard.get_body((kind,))
        expected = None if body is None else body.get_content().replace("\r\n", "\n")
        assert (found["text" if kind == "plain" else kind] or "").rstrip("\n") == (expected or "").rstrip("\n")
    ids = [one["attachment_id"] for one in found["attachments"]]
    assert [attachment(raw, one) for one in ids] == [("application/pdf", name, content) for name, content in files]
    assert found["parse_error"] is None


def test_the_fields_of_the_wire() -> None:
    found = view(composed("One.\n\n Two. \n", "<p>HTML</p>", []))
    assert found["message_id"] == "<2@example.org>"
    assert found["in_reply_to"] == "<1@example.org>"
    assert found["references"] == ["<0@example.org>", "<1@example.org>"]
    assert found["from"] == {"name": "Ann", "address": "ann@example.org"}
    assert found["to"] == [{"name": "", "address": "agent@example.net"}]
    assert found["cc"] == found["reply_to"] == []
    assert (found["subject"], found["preview"]) == ("Grüße", "One. Two.")
    assert found["date"] == "2026-11-23T09:33:22+01:00"
    assert ["Subject", "Grüße"] in found["headers"]


@pytest.mark.parametrize(
    ("html", "preview"),
    [
        ("<p>One</p><p>Two</p>", "One Two"),
        ("<style>p {}</style><!-- x --><b>B</b>&nbsp;&lt;c&gt;", "B <c>"),
        ("<STYLE " * 10_000, ""),
        ("<" * 300_000, "<" * 200),
        ("<head>" + "x" * 100_000 + "</head>Shown", "Shown"),
        ("<script>never closed", ""),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_mail_without_text_is_previewed_from_its_html(html: str, preview: str) -> None:
    raw = b"Content-Type: text/html\r\n\r\n" + html.encode()
    assert view(raw)["preview"] == preview


def test_long_text_is_cut_and_said_to_be_so() -> None:
    short, long = (view(b"Subject: x\r\n\r\n" + b"a" * size) for size in (TEXT_LIMIT, TEXT_LIMIT + 1))
    assert (len(short["text"]), short["truncated"]) == (TEXT_LIMIT, False)
    assert (len(long["text"]), long["truncated"]) == (TEXT_LIMIT, True)


def test_a_date_without_a_zone_or_sense_is_no_fault() -> None:
    assert view(b"Date: Mon, 23 Nov 2026 09:33:22 -0000\r\n\r\n")["date"] == "2026-11-23T09:33:22"
    assert view(b"Date: yesterday\r\n\r\n")["date"] is None
