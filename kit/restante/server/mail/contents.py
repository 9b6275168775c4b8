"""What the parts of a mail are to a reader: its text, its HTML, and a list of attachments."""

from __future__ import annotations

import re
from typing import Any

from restante.server.mail.headers import decode, plain
from restante.server.mail.html import preview_of_html
from restante.server.mail.mime import Part
from restante.server.mail.parameters import VALUE_LIMIT, parameter, parameters

PREVIEW = 200
TEXT_LIMIT = 1 << 20  # characters of text and of html in an answer, ten novels; the raw mail has all of it

_PATH = re.compile(r"[\\/]")
_FORBIDDEN = re.compile(r'[:*?"<>|]')


def texts(raw: bytes, parts: list[Part], trouble: list[str]) -> dict[str, Any]:
    found: dict[str, list[str]] = {"plain": [], "html": []}
    attachments = []
    for part in parts:
        kind, content = kind_of(part), part.content(raw, trouble)
        if kind == "attachment":
            attachments.append(_described(part, len(content)))
        else:
            found[kind].append(_decoded(part, content, trouble))
    words, html = ("\n".join(found[kind]) if found[kind] else None for kind in ("plain", "html"))
    preview = " ".join(words[: PREVIEW * 10].split())[:PREVIEW] if words else ""
    if html and not preview:
        preview = preview_of_html(html, PREVIEW)
    cut = any(len(each or "") > TEXT_LIMIT for each in (words, html))
    words, html = (each if each is None else each[:TEXT_LIMIT] for each in (words, html))
    return {"preview": preview, "text": words, "html": html, "truncated": cut, "attachments": attachments}


def kind_of(part: Part) -> str:
    disposition = part.fields.get(b"content-disposition", b"").strip().lower()
    if part.content_type not in ("text/plain", "text/html") or disposition.startswith(b"attachment"):
        return "attachment"
    named = (disposition and b"filename" in disposition) or "name" in part.parameters
    return "attachment" if named else part.content_type[5:]


def _decoded(part: Part, content: bytes, trouble: list[str]) -> str:
    charset = part.parameters.get("charset", "").strip(" '").lower()
    if charset in ("", "us-ascii", "ascii"):
        found = plain(content)  # mail that names no charset, or ASCII and is not, is mostly UTF-8
    else:
        known = decode(content, charset)
        if known is None:
            trouble.append(f"The charset of part {part.number} is not known.")
        elif "\ufffd" in known and b"\xef\xbf\xbd" not in content:
            trouble.append(f"The text of part {part.number} is not valid in its charset.")
        found = plain(content) if known is None else known
    return found.replace("\r\n", "\n").replace("\0", "")


def _described(part: Part, size: int) -> dict[str, Any]:
    disposition = part.fields.get(b"content-disposition", b"").strip().lower()
    inline = disposition.startswith(b"inline") or (b"content-id" in part.fields and not disposition)
    return {
        "attachment_id": str(part.number), "filename": filename(part), "content_type": part.content_type,
        "size": size, "inline": inline,
    }  # fmt: skip


def filename(part: Part) -> str:
    """A name that can be written into any one folder and any header."""
    disposition = plain(part.fields.get(b"content-disposition", b"")[:VALUE_LIMIT])
    name = parameter(parameters(disposition), "filename") or parameter(part.parameters, "name")
    name = _FORBIDDEN.sub("_", _PATH.split(name.rstrip("\\/"))[-1])
    name = "".join(char for char in name if char.isprintable()).strip(". ")
    stem, dot, suffix = name.rpartition(".")
    name = stem[:150] + dot + suffix[:50] if stem else name[:200]
    return name or f"attachment-{part.number}"
