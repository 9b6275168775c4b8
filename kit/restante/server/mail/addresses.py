"""Address lists of From, To and the like (RFC 5322), and what strangers write instead. One pass, no recursion.

The standard library's parser recurses into comments and copies its input at each step: a header of brackets stops it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from restante.server.mail.headers import words

ADDRESS_LIMIT = 320  # RFC 3696: 64 for the local part, 1 for the sign, 255 for the domain
NAME_LIMIT = 998
COUNT_LIMIT = 1000

_PIECE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[()<>,;:]|[^"()<>,;:]+', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SPACE = re.compile(r'("[^"]*")| +')


@dataclass
class _Draft:
    """One address while it is read."""

    phrase: list[str] = field(default_factory=list)
    comment: list[str] = field(default_factory=list)
    angle: list[str] | None = None
    open: bool = False  # between < and >


def addresses(value: str) -> list[dict[str, str]]:
    """Each as name and address, either of them "" where it is missing. Encoded words are decoded after the splitting."""
    found: list[dict[str, str]] = []
    draft, depth = _Draft(), 0
    for match in _PIECE.finditer(value):
        piece = match[0]
        if piece == "(" and not draft.open:
            depth += 1
        elif depth:
            depth -= piece == ")"
            if piece != ")":
                draft.comment.append(piece)
        elif (piece in ",;" and not _routed(draft)) or (piece == "<" and draft.angle is not None):
            _finish(draft, found)
            draft = _Draft(angle=[] if piece == "<" else None, open=piece == "<")
            if len(found) >= COUNT_LIMIT:
                return found
        else:
            _take(draft, piece)
    _finish(draft, found)
    return found


def mailbox(address: str) -> str:
    """The address with its domain in lower case; what can't be part of one is left out."""
    if not address.isprintable() or " " in address:
        # A quoted local part may hold spaces; nothing may hold a control character, and PostgreSQL stores no NUL.
        address = _SPACE.sub(lambda match: match[1] or "", _CONTROL.sub("", address))
    local, sign, domain = address[:ADDRESS_LIMIT].rpartition("@")
    return local + sign + domain.lower()


def _routed(draft: _Draft) -> bool:
    # An old source route, <@relay,@relay:user@host>: its commas separate no addresses.
    return draft.open and draft.angle is not None and "".join(draft.angle[:1]).startswith("@")


def _take(draft: _Draft, piece: str) -> None:
    if piece == "<":
        draft.angle, draft.open = [], True
    elif piece == ">":
        draft.open = False
    elif draft.open and draft.angle is not None:
        draft.angle.append(piece)
    elif piece == ":":
        draft.phrase.clear()  # it was the name of a group
    elif draft.angle is None:
        draft.phrase.append(piece)


def _finish(draft: _Draft, found: list[dict[str, str]]) -> None:
    bare = "".join(draft.phrase).strip()
    if draft.angle is not None:
        address, name = "".join(draft.angle).strip(), " ".join(filter(None, map(_unquoted, draft.phrase)))
        address = address.rpartition(":")[2] if address.startswith("@") else address
    elif "@" in bare:
        address, name = bare, " ".join(filter(None, map(_unquoted, draft.comment)))
    else:
        address, name = "", bare.strip('"')
    if address or name:
        name = words(name) if "=?" in name else name
        found.append({"name": _line(name), "address": mailbox(address)})


def _unquoted(piece: str) -> str:
    if not piece.startswith('"'):
        return piece.strip()
    return _ESCAPED.sub(r"\1", piece[1:-1] if piece.endswith('"') else piece[1:]).strip()


def _line(name: str) -> str:
    if not name.isprintable():
        name = " ".join("".join(char if char.isprintable() else " " for char in name).split())
    return name[:NAME_LIMIT]
