"""The fields of one header and their parameters (RFC 2045, RFC 2231)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from restante.server.mail.headers import decode, lines, plain, text

FIELD_LIMIT = 500
VALUE_LIMIT = 8192
SEGMENT_LIMIT = 100  # pieces of one parameter after RFC 2231

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^;\s]*))', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_TYPE = re.compile(r"\s*([\w.+-]{1,64}/[\w.+-]{1,64})\s*(?:;|$)", re.ASCII)


def to_fields(head: bytes) -> dict[bytes, bytes]:
    """The first field of each name."""
    found: dict[bytes, bytes] = {}
    for line in lines(head)[:FIELD_LIMIT]:
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(name.rstrip().lower(), value)
    return found


def content_type_of(fields: Mapping[bytes, bytes]) -> tuple[str, Mapping[str, str]]:
    """Content type and parameters. None that can be read: text (RFC 2045, 5.2)."""
    value = plain(fields.get(b"content-type", b"")[:VALUE_LIMIT])
    match = _TYPE.match(value)
    if match is None:
        return "text/plain", {}
    return match[1].lower(), parameters(value[match.end(1) :])


def parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if ";" in value:
        for match in _PARAMETER.finditer(value):
            quoted = match[2]
            found.setdefault(match[1].lower(), match[3] if quoted is None else _ESCAPED.sub(r"\1", quoted))
    return found


def parameter(found: Mapping[str, str], name: str) -> str:
    """One parameter, also in the pieces and with the charset of RFC 2231."""
    if name in found:
        return text(found[name].encode(), VALUE_LIMIT)
    if f"{name}*" in found:
        return _extended([(found[f"{name}*"], True)])
    pieces = []
    for number in range(SEGMENT_LIMIT):
        key = f"{name}*{number}"
        if key not in found and f"{key}*" not in found:
            break
        pieces.append((found.get(key) or found.get(f"{key}*", ""), key not in found))
    return _extended(pieces)


def _extended(pieces: list[tuple[str, bool]]) -> str:
    charset = ""
    if pieces and pieces[0][1] and pieces[0][0].count("'") >= 2:
        charset, _, rest = pieces[0][0].split("'", 2)
        pieces = [(rest, True), *pieces[1:]]
    octets = b"".join(unquote_to_bytes(piece) if escaped else piece.encode() for piece, escaped in pieces)
    return text((decode(octets, charset) or plain(octets)).encode(), VALUE_LIMIT)
