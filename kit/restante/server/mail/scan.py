"""The fast path of ingestion: what is read of every mail before it is stored. It never raises, and it looks at the header only."""

from __future__ import annotations

import re
from hashlib import blake2b

from restante.server.mail.addresses import addresses, mailbox
from restante.server.mail.headers import head_end, lines, plain, text
from restante.server.store.base import Scan

LINE_LIMIT = 998  # RFC 5322, 2.1.1
FROM_LIMIT = 8192
LARGE = 1 << 18  # bytes of mail: reading more may take 0.1 s, which belongs into a thread

# Written by hosts on the way or at the end of it: the same mail sent again has others.
TRACE = frozenset({
    b"received", b"return-path", b"delivered-to", b"envelope-to", b"x-original-to", b"x-envelope-to", b"x-forwarded-to",
    b"x-received", b"received-spf", b"authentication-results", b"x-authentication-results", b"dkim-signature",
    b"domainkey-signature", b"x-google-dkim-signature", b"x-gm-message-state", b"x-virus-scanned", b"x-virus-status",
})  # fmt: skip
TRACE_FAMILIES = (b"arc-", b"x-spam-", b"x-rspamd-", b"x-amavis-")
BULK = frozenset({b"bulk", b"list", b"junk"})  # RFC 3834, 2: what a responder must not answer

_ID = re.compile(rb"<[^<>\s]+>")
_SIMPLE = re.compile(rb'[^"(),;:<>]*<([^<>"(),;:\s]+@[^<>"(),;:\s]+)>\s*')


def scan(raw: bytes, envelope_from: str | None = None) -> Scan:
    """What ingestion reads of a mail. An empty `envelope_from` marks a bounce; None says that it isn't known."""
    end = head_end(raw)
    fields: dict[bytes, bytes] = {}
    content: list[bytes] = []
    for line in lines(raw[:end]):
        name, colon, value = line.partition(b":")
        name = name.rstrip().lower()
        if name in TRACE or name.startswith(TRACE_FAMILIES):
            continue
        content.append(line)
        if colon and name not in fields:
            fields[name] = value
    message_id = identifier(fields.get(b"message-id", b""))
    return Scan(
        message_id=message_id,
        subject=text(fields.get(b"subject", b""), LINE_LIMIT),
        sender=_sender(fields.get(b"from", b"")),
        automated=envelope_from == "" or _automated(fields),
        fingerprint=_fingerprint(content, memoryview(raw)[end:]) if message_id else b"",
    )


def identifier(value: bytes) -> str:
    """A Message-ID with its angle brackets, or what stands in its place."""
    match = _ID.search(value[: LINE_LIMIT * 2])
    return text(match[0] if match else value, LINE_LIMIT)


def _sender(value: bytes) -> str:
    value = value[:FROM_LIMIT]
    if match := _SIMPLE.fullmatch(value):
        return mailbox(plain(match[1]))
    found = addresses(plain(value))
    return found[0]["address"] if found else ""


def _automated(fields: dict[bytes, bytes]) -> bool:
    submitted = fields.get(b"auto-submitted", b"no").partition(b";")[0].partition(b"(")[0].strip().lower()
    return (
        submitted not in (b"", b"no")
        or b"list-id" in fields
        or fields.get(b"precedence", b"").strip().lower() in BULK
        or fields.get(b"content-type", b"").lstrip()[:16].lower() == b"multipart/report"
    )


def _fingerprint(content: list[bytes], body: memoryview) -> bytes:
    digest = blake2b(b"\n".join(content), digest_size=16)
    digest.update(body)
    return digest.digest()
