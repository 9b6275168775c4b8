"""The words of LMTP commands: addresses, SIZE, and what XFORWARD says. Bytes of one line in, never an exception."""

from __future__ import annotations

import re

LINE_LIMIT = 4096  # RFC 5321 has 512 and more for each extension; Postfix's own is 2048

_PATH = re.compile(rb'\s*<((?:"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*"|[^"<>\x00-\x20\x7f])*)>((?: +[!-~]+)*) *')
_SIZE = re.compile(rb" SIZE=([0-9]{1,18})(?: |$)", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([A-Za-z]+)=(\S*)")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_IDENTITY = re.compile(r"[!-~]{1,200}")
_NONE = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")


def path(rest: bytes, keyword: bytes) -> tuple[str, bytes] | None:
    """The address between `FROM:<` or `TO:<` and `>`, and the parameters behind it.

    What is not UTF-8 is replaced: such a recipient is unknown, and such a sender is still a sender.
    """
    if rest[: len(keyword)].upper() != keyword or (match := _PATH.fullmatch(rest, len(keyword))) is None:
        return None
    local, sign, domain = match[1].decode("utf-8", "replace").rpartition("@")
    return local + sign + domain.lower(), match[2]


def size_of(parameters: bytes) -> int:
    """The size that MAIL declares; 0 when it declares none."""
    match = _SIZE.search(parameters)
    return int(match[1]) if match else 0


def attributes(rest: bytes) -> dict[str, str | None] | None:
    """What XFORWARD says (postfix.org/XFORWARD_README), None for what the client does not know; None if it is malformed."""
    found: dict[str, str | None] = {}
    for word in rest.decode("utf-8", "replace").split():
        match = _ATTRIBUTE.fullmatch(word)
        if match is None:
            return None
        value = _XTEXT.sub(lambda code: chr(int(code[1], 16)), match[2])
        found[match[1].upper()] = None if match[2].upper() in _NONE else value
    return found


def identity(value: str | None) -> str | None:
    """A queue id that may be part of a hop identity."""
    return value if value is not None and _IDENTITY.fullmatch(value) else None
