"""Close codes and what a client does about each. The range says it too: 4000-4499 resume, 4500-4799 afresh, 4800-4999 stop."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Close(IntEnum):
    """Close codes of ours, after RFC 6455, 7.4.2: 4000-4999 are an application's own."""

    DRAINING = 4000
    SILENT = 4001
    SLOW = 4002
    TOO_OLD = 4003
    HISTORY_CHANGED = 4500
    UNAUTHORIZED = 4800
    PROTOCOL = 4801
    TOO_MANY_FRAMES = 4802


class Verdict(StrEnum):
    """What a client does after the close."""

    resume = "reconnect and resume from the cursor"
    afresh = "reconnect, and reconcile everything"
    stop = "stop and tell a person: trying again gives the same answer"


@dataclass(frozen=True, slots=True)
class Meaning:
    code: int
    verdict: Verdict
    because: str


MEANINGS = (
    Meaning(1000, Verdict.resume, "normal closure; a server of ours never sends it first"),
    Meaning(1001, Verdict.resume, "the server, or a proxy, goes away"),
    Meaning(1006, Verdict.resume, "the connection was lost without a close frame"),
    Meaning(1008, Verdict.stop, "a proxy's policy refuses this client"),
    Meaning(1009, Verdict.stop, "a frame was larger than 64 KiB"),
    Meaning(1011, Verdict.resume, "the server failed"),
    Meaning(1012, Verdict.resume, "the server restarts"),
    Meaning(1013, Verdict.resume, "the server is overloaded"),
    Meaning(Close.DRAINING, Verdict.resume, "the server stops, or moves its sockets; `reconnect` was sent before"),
    Meaning(Close.SILENT, Verdict.resume, "no ping was heard for three intervals"),
    Meaning(Close.SLOW, Verdict.resume, "the client did not read what was sent to it"),
    Meaning(Close.TOO_OLD, Verdict.resume, "the socket reached the age at which the path would cut it"),
    Meaning(Close.HISTORY_CHANGED, Verdict.afresh, "a restore rewrote history: old cursors mean nothing"),
    Meaning(Close.UNAUTHORIZED, Verdict.stop, "the token is missing, wrong, revoked, or not for this inbox"),
    Meaning(Close.PROTOCOL, Verdict.stop, "a frame was no JSON object, or not one of the protocol's"),
    Meaning(Close.TOO_MANY_FRAMES, Verdict.stop, "more frames than any client of the protocol sends"),
)


def verdict(code: int) -> Verdict:
    """What to do after a close with `code`, known or not."""
    for meaning in MEANINGS:
        if meaning.code == code:
            return meaning.verdict
    if 4500 <= code <= 4799:
        return Verdict.afresh
    return Verdict.stop if 4800 <= code <= 4999 else Verdict.resume
