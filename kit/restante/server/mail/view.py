"""A mail as an agent reads it: the parsed part of the wire's Message. A malformed mail never stops an inbox.

Read when it is asked for, never on arrival. What does not fit the bounds is left out and said in `parse_error`; the raw
mail is always there.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import Any

from restante.server.mail.addresses import addresses
from restante.server.mail.contents import filename, kind_of, texts
from restante.server.mail.headers import HEAD_LIMIT, head_end, lines, plain, text
from restante.server.mail.mime import Part, Walk, body_start
from restante.server.mail.parameters import FIELD_LIMIT, to_fields
from restante.server.mail.scan import LINE_LIMIT, identifier, scan

VALUE_LIMIT = 65536  # one header of 2,000 recipients is longer; raw has it all
REFERENCE_LIMIT = 500

_IDS = re.compile(r"<[^<>\s]+>")


def view(raw: bytes) -> dict[str, Any]:
    """The mail's fields, texts and list of attachments. What could not be read is said in `parse_error`."""
    try:
        return _view(raw)
    except Exception as error:  # a mail that finds a fault of ours is delivered all the same
        return _bare(raw, f"The mail could not be parsed ({type(error).__name__}); its raw form is complete.")


def attachment(raw: bytes, attachment_id: str) -> tuple[str, str, bytes] | None:
    """Content type, harmless file name and content, or None when there is no such attachment."""
    for part in _walk(raw)[1]:
        if str(part.number) == attachment_id and kind_of(part) == "attachment":
            return part.content_type, filename(part), part.content(raw, [])
    return None


def _view(raw: bytes) -> dict[str, Any]:
    end = head_end(raw)
    rows = _rows(raw[:end])
    fields: dict[bytes, bytes] = {}
    for name, value in rows:
        fields.setdefault(name.lower(), value)
    walk, parts = _walk(raw)
    if end >= HEAD_LIMIT or len(rows) > FIELD_LIMIT or any(len(value) > VALUE_LIMIT for _, value in rows):
        walk.trouble.append("The header is too long; some of it was not read.")
    message = _addressing(fields) | texts(raw, parts, walk.trouble)
    message["headers"] = [[text(name, LINE_LIMIT), text(value, VALUE_LIMIT)] for name, value in rows[:FIELD_LIMIT]]
    message["parse_error"] = " ".join(walk.trouble[:5]) or None
    return message


def _walk(raw: bytes) -> tuple[Walk, list[Part]]:
    walk, end = Walk(raw), head_end(raw)
    return walk, list(walk.parts(to_fields(raw[:end]), body_start(raw, end, len(raw)), len(raw)))


def _rows(head: bytes) -> list[tuple[bytes, bytes]]:
    split = (line.partition(b":") for line in lines(head))
    return [(name.rstrip(), value) for name, colon, value in split if colon]


def _addressing(fields: dict[bytes, bytes]) -> dict[str, Any]:
    def people(name: bytes) -> list[dict[str, str]]:
        return addresses(plain(fields[name][:VALUE_LIMIT])) if name in fields else []

    senders = people(b"from")
    references = _IDS.findall(plain(fields.get(b"references", b"")[:VALUE_LIMIT]))[-REFERENCE_LIMIT:]
    return {
        "message_id": identifier(fields.get(b"message-id", b"")) or None,
        "in_reply_to": identifier(fields.get(b"in-reply-to", b"")) or None,
        "references": [identifier(reference.encode()) for reference in references],
        "from": senders[0] if senders else None,
        "to": people(b"to"),
        "cc": people(b"cc"),
        "reply_to": people(b"reply-to"),
        "subject": text(fields.get(b"subject", b""), LINE_LIMIT),
        "date": _date(fields.get(b"date", b"")),
    }


def _date(value: bytes) -> str | None:
    """The sender's date as ISO 8601; None when there is none, or none that exists."""
    try:
        return parsedate_to_datetime(plain(value[:100])).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _bare(raw: bytes, sentence: str) -> dict[str, Any]:
    found = scan(raw)
    sender = {"name": "", "address": found.sender} if found.sender else None
    return {
        "message_id": found.message_id or None, "in_reply_to": None, "references": [], "from": sender, "to": [], "cc": [],
        "reply_to": [], "subject": found.subject, "date": None, "preview": "", "text": None, "html": None,
        "truncated": False, "attachments": [], "headers": [], "parse_error": sentence,
    }  # fmt: skip
