"""What ingestion reads of a mail."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.server.mail.addresses import addresses
from restante.server.mail.headers import words
from restante.server.mail.scan import scan

MAIL = b"Received: by a\r\nFrom: Ann <ann@Example.ORG>\r\nMessage-ID: <1@example.org>\r\nSubject: Hi\r\n\r\nText.\r\n"
FRAGMENTS = [
    b"From: ", b"Subject: ", b"Message-ID: <", b">", b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"=?utf-8?q?", b"=?gb2312?b?",
    b"=?utf-7?b?", b"?=", b'"', b"(", b")", b"<", b"@", b",", b":", b";", b"\\", b"=C3", b"+2AA-", b"\xff", b"\xc3\xbc",
    b"Content-Type: multipart/mixed; boundary=", b"Content-Type: text/html; charset=", b"utf-16", b"utf-7", b"--b", b"b", b"--",
    b"Content-Transfer-Encoding: base64", b"QUJD", b"Content-Disposition: attachment; ", b"filename*0*=", b"/..", b"%00", b"<style>",
    b"&#xD800;", b"Date: Mon, 1 Jan 2024 00:00:00 +9999", b"References: ",
]  # fmt: skip
JUNK = st.binary(max_size=300) | st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=60).map(b"".join)


@given(JUNK)
@example(b'From:<"\x00"')
def test_any_bytes_are_read(raw: bytes) -> None:
    found = asdict(scan(raw))
    assert len(found.pop("fingerprint")) == (16 if found["message_id"] else 0)
    json.dumps(found, ensure_ascii=False).encode()
    shown = found["subject"] + found["sender"] + found["message_id"]
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert len(found["subject"]) <= 998
    assert len(found["sender"]) <= 320


def test_the_sender_is_a_bare_address_with_its_domain_in_lower_case() -> None:
    assert scan(MAIL).sender == "ann@example.org"


def test_a_quoted_address_keeps_its_spaces_and_no_control_character() -> None:
    assert scan(b'From: <"a \x00b\x1f c"@Example.ORG>\r\n\r\n').sender == '"a b c"@example.org'


@pytest.mark.parametrize(
    ("header", "automated"),
    [
        (b"Auto-Submitted: no", False),
        (b"Auto-Submitted: No (really)", False),
        (b"Auto-Submitted: auto-replied; owner-email=a@example.org", True),
        (b"auto-submitted: auto-generated", True),
        (b"Precedence: Bulk", True),
        (b"Precedence: first-class", False),
        (b"List-Id: <l.example.org>", True),
        (b"Content-Type: multipart/report; report-type=delivery-status; boundary=b", True),
        (b"Content-Type: multipart/mixed; boundary=b", False),
    ],
)
def test_automated_mail_is_known_by_its_header(header: bytes, automated: bool) -> None:
    assert scan(header + b"\r\n" + MAIL, "ann@example.org").automated is automated


def test_a_null_sender_is_automated_and_an_unknown_one_is_not() -> None:
    assert scan(MAIL, "").automated
    assert not scan(MAIL).automated


def test_the_fingerprint_forgets_the_way_and_nothing_else() -> None:
    again = b"Received: by c\r\n\tfor d\r\nARC-Seal: i=1\r\nX-Spam-Score: 1\r\n" + MAIL.replace(b"by a", b"by b")
    assert scan(again).fingerprint == scan(MAIL).fingerprint
    for old, new in ((b"Text", b"text"), (b"Hi", b"Ho"), (b"<1@", b"<2@"), (b"Ann", b"Anne")):
        assert scan(MAIL.replace(old, new)).fingerprint != scan(MAIL).fingerprint
    assert scan(MAIL.replace(b"Message-ID", b"X-ID")).fingerprint == b""


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("=?utf-8?q?a_b=C3=BC?=", "a bü"),
        ("=?utf-8?b?w?= =?utf-8?b?vA==?= x", "\ufffd x"),
        ("=?utf-8?q?=C3?=\t =?UTF-8?q?=BC?=", "ü"),
        ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ("=?iso-8859-1*de?q?=FC?=", "ü"),
        ("=?klingon?q?a?= =?utf-8?q?b?=", "=?klingon?q?a?=b"),
        ("=?gb2312?B?xOO6ww==?=", "你好"),
    ],
)
def test_encoded_words(written: str, read: str) -> None:
    assert words(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ann@example.org", [("", "ann@example.org")]),
        ("Ann <ann@Example.org>, b@example.org", [("Ann", "ann@example.org"), ("", "b@example.org")]),
        ('"A, \\"B\\"" <a@b>', [('A, "B"', "a@b")]),
        ('"x@y.z" <a@b>', [("x@y.z", "a@b")]),
        ('"a b"@example.org', [("", '"a b"@example.org')]),
        ('<"a b"@example.org>', [("", '"a b"@example.org')]),
        ("a@b (A (nested) B)", [("A nested B", "a@b")]),
        ("undisclosed-recipients:;", []),
        ("G: a@b, C <c@d>; e@f", [("", "a@b"), ("C", "c@d"), ("", "e@f")]),
        ("=?utf-8?q?J=2C_K?= <a@b>", [("J, K", "a@b")]),
        ("<@r1,@r2:a@b>", [("", "a@b")]),
        ("Ann", [("Ann", "")]),
        (" , ;,", []),
    ],
)
def test_address_lists(written: str, read: list[tuple[str, str]]) -> None:
    assert [(one["name"], one["address"]) for one in addresses(written)] == read
