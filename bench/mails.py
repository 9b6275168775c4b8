"""Mails of 8 kB, no two the same."""

from __future__ import annotations

import itertools
import time

SIZE = 8000
LINES = b"".join(b"%070d\r\n" % number for number in range(SIZE // 72))
NUMBERS = itertools.count()


def subject(number: int) -> str:
    return f"mail {number}"


def mail(number: int, to: str, body: bytes = LINES) -> bytes:
    head = (
        f"From: a@example.net\r\nTo: {to}\r\nSubject: {subject(number)}\r\n"
        f"Message-ID: <{number}.{time.time_ns()}@example.net>\r\n\r\n"
    )
    return head.encode() + body
