"""Mail that is broken or means harm. Each file is read as its neighbour in JSON says; the bombs are made here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from restante.server.mail.scan import scan
from restante.server.mail.view import attachment, view

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in HERE.glob("*.eml"))
MEGABYTE = 1 << 20
FROM = b"From: Ann <ann@example.org>\r\nSubject: bomb\r\nMIME-Version: 1.0\r\n"


def nested(levels: int, padding: bytes = b"") -> bytes:
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(levels))
    return FROM + opened + b"\r\ninnermost" + padding


def flat(count: int, part: bytes) -> bytes:
    return (
        FROM
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + (b"--b\r\n" + part + b"\r\n") * count
        + b"--b--\r\n"
    )


BOMBS: dict[str, Callable[[], bytes]] = {
    "nested-10000": lambda: nested(10_000),
    "nested-then-25-mib-of-near-boundaries": lambda: nested(40, b"\r\n--b" * (5 * MEGABYTE)),
    "parts-10000": lambda: flat(10_000, b"\r\nText."),
    "parts-with-huge-headers": lambda: flat(999, b"a:\r\n" * 6_000 + b"\r\nText."),
    "header-of-1-mb": lambda: FROM + b"X-Long: " + b"x" * MEGABYTE + b"\r\n\r\nText.\r\n",
    "headers-300000": lambda: FROM + b"a:b\r\n" * 300_000 + b"\r\nText.\r\n",
    "header-without-end": lambda: FROM + b"x:y\r\n" * (5 * MEGABYTE),
    "recipients-100000": lambda: FROM + b"To: " + b'"a (" <a@example.org>, ' * 40_000 + b"\r\n\r\nText.\r\n",
    "comments-100000": lambda: FROM + b"To: " + b"(" * 100_000 + b"\r\nCc: " + b'"' * 100_001 + b"\r\n\r\nText.\r\n",
    "encoded-words-100000": lambda: (
        FROM + b"To: " + b"=?utf-8?q?a" * 100_000 + b"\r\nCc: " + b"=?x?b?a?= " * 60_000 + b"\r\n\r\n"
    ),
    "parameters-100000": lambda: FROM + b"Content-Type: text/plain" + b'; a*1*="x' * 100_000 + b"\r\n\r\nText.\r\n",
    "text-of-25-mib": lambda: FROM + b"\r\n" + b"A line of text.\r\n" * (25 * MEGABYTE // 17),
    "one-line-of-25-mib": lambda: FROM + b"\r\n" + b"x" * (25 * MEGABYTE),
    "html-of-25-mib": lambda: FROM + b"Content-Type: text/html\r\n\r\n" + b"<style<" * (25 * MEGABYTE // 7),
    "base64-of-25-mib": lambda: (
        FROM + b"Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"QUJD\r\n" * (4 * MEGABYTE)
    ),
    "quoted-printable-of-25-mib": lambda: (
        FROM + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=41=\r\n" * (4 * MEGABYTE)
    ),
    "utf-7-of-25-mib": lambda: FROM + b"Content-Type: text/plain; charset=utf-7\r\n\r\n" + b"+2AA-" * (5 * MEGABYTE),
    "white-space-behind-a-boundary": lambda: flat(1, b"\r\nText.\r\n--b" + b" \t" * (12 * MEGABYTE)),
    "line-feeds-only": lambda: b"\n" * (25 * MEGABYTE),
    "carriage-returns-only": lambda: FROM + b"\r" * (25 * MEGABYTE),
}


def reading(case: str) -> str:
    raw = (HERE / f"{case}.eml").read_bytes()
    found = asdict(scan(raw))
    found["fingerprint"] = found["fingerprint"].hex()
    return json.dumps({"scan": found, "view": view(raw)}, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_is_read_as_written_beside_it(case: str) -> None:
    found, expected = reading(case), HERE / f"{case}.json"
    if os.environ.get("RESTANTE_GOLDEN") == "write":
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_attachment_that_is_listed_can_be_fetched(case: str) -> None:
    raw = (HERE / f"{case}.eml").read_bytes()
    for listed in view(raw)["attachments"]:
        found = attachment(raw, listed["attachment_id"])
        assert found is not None
        assert (found[0], found[1], len(found[2])) == (listed["content_type"], listed["filename"], listed["size"])
    assert attachment(raw, "0") is attachment(raw, "-1") is attachment(raw, "x") is None


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_costs_two_seconds_at_most_and_goes_into_json(bomb: str) -> None:
    raw = BOMBS[bomb]()
    begin = time.process_time()
    scan(raw)
    scanned = time.process_time()
    found = view(raw)
    viewed = time.process_time()
    print(f"{bomb}: scan {scanned - begin:.3f} s, view {viewed - scanned:.3f} s")
    assert scanned - begin < 1
    assert viewed - scanned < 2
    assert found["from"] == (None if raw.startswith(b"\n") else {"name": "Ann", "address": "ann@example.org"})
    assert not (found["parse_error"] or "").startswith("The mail could not be parsed")
    json.dumps(found, ensure_ascii=False).encode()


def test_bounds_are_told() -> None:
    assert "nested deeper" in view(BOMBS["nested-10000"]())["parse_error"]
    assert "more than 1000 parts" in view(BOMBS["parts-10000"]())["parse_error"]
    assert "header is too long" in view(BOMBS["header-of-1-mb"]())["parse_error"]
