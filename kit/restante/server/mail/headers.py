"""Header fields of a mail, from bytes to text that can be shown and sent as JSON. Nothing here raises, whatever it is given."""

from __future__ import annotations

import binascii
import re
from encodings.aliases import aliases

HEAD_LIMIT = 1 << 20  # header bytes that are looked at; Postfix itself cuts a single field at 100 kB

# An allow-list: Python takes "punycode" and "unicode_escape" for charsets too, one quadratic, one able to make lone
# surrogates, and it remembers every unknown name for ever, which a stranger could use to fill the memory.
_BINARY = {
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "quopri_codec",
    "rot_13",
    "uu_codec",
    "zlib_codec",
    "mbcs",
    "tactis",
}
_CHARSETS = {name: codec for name, codec in aliases.items() if codec not in _BINARY}
_CHARSETS |= {codec: codec for codec in _CHARSETS.values()}
_CHARSETS |= {name: name for name in ("koi8_u", "koi8_t", "cp737", "cp856", "cp874", "utf_8_sig")}
_CHARSETS |= {"windows_874": "cp874", "iso_8859_8_i": "iso8859_8", "gb2312": "gb18030", "x_sjis": "shift_jis"}

_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_RUN = re.compile(rf"{_WORD.pattern}(?:\s*{_WORD.pattern})*")
_HARMFUL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def head_end(raw: bytes, start: int = 0, stop: int | None = None) -> int:
    """Where the empty line begins that ends the header, or where the bytes end that may be header."""
    stop = min(len(raw) if stop is None else stop, start + HEAD_LIMIT)
    if raw.startswith((b"\n", b"\r\n"), start):
        return start
    end = raw.find(b"\n\r\n", start, stop)
    bare = raw.find(b"\n\n", start, stop if end < 0 else end)
    if bare >= 0:
        return bare + 1
    return stop if end < 0 else end + 1


def lines(head: bytes) -> list[bytes]:
    """One field a line, unfolded."""
    return head.replace(b"\r\n", b"\n").replace(b"\n ", b" ").replace(b"\n\t", b" ").split(b"\n")


def text(value: bytes, limit: int) -> str:
    """The value as one line without control characters, encoded words decoded, at most `limit` characters."""
    found = plain(value[: limit * 12])  # an encoded word takes up to 12 bytes for one character
    if "=?" in found:
        found = words(found)
    if not found.isprintable():
        found = " ".join(_HARMFUL.sub("", found).split())
    return found.strip()[:limit]


def plain(value: bytes) -> str:
    """Bytes of no declared charset: UTF-8 where they are, else Latin-1, which takes anything."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def words(value: str) -> str:
    """RFC 2047. White space between two encoded words is not shown; a word that is broken stays as it was written."""
    return _RUN.sub(_run, value)


def _run(match: re.Match[str]) -> str:
    """Neighbours of one charset are decoded together: some senders cut a letter in two."""
    shown: list[str] = []
    before, octets = "", b""
    for word in _WORD.finditer(match[0]):
        charset, encoding, payload = word[1].partition("*")[0].lower(), word[2], word[3].encode("utf-8", "replace")
        found = base64(payload) if encoding in "bB" else binascii.a2b_qp(payload, header=True)
        if found is None or decode(b"", charset) is None:
            shown += [decode(octets, before) or "", word[0]]
            before, octets = "", b""
        elif charset == before:
            octets += found
        else:
            shown.append(decode(octets, before) or "")
            before, octets = charset, found
    return "".join(shown) + (decode(octets, before) or "")


def base64(data: bytes) -> bytes | None:
    """What the base64 holds, missing padding forgiven; None when it is none."""
    for padding, surplus in ((b"", None), (b"===", None), (b"A==", -1)):
        try:
            return binascii.a2b_base64(data + padding)[:surplus]
        except binascii.Error:
            continue
    return None


def decode(octets: bytes, charset: str) -> str | None:
    """Text in a charset that we know, what is invalid replaced; None for a charset that we don't."""
    codec = _CHARSETS.get(charset.lower().replace("-", "_"))
    if codec is None:
        return None
    found = octets.decode(codec, "replace")
    return _SURROGATE.sub("\ufffd", found) if codec == "utf_7" else found
