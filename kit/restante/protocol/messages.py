"""The frames of the WebSocket: one JSON object each, by `type`. Unknown fields are tolerated, unknown types of a server too."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from restante.protocol.heartbeat import Timing
from restante.protocol.position import Cursor

VERSION = 1
SUBPROTOCOL = "restante.v1"
TICKET_PREFIX = "restante.ticket."
FRAME_LIMIT = 64 << 10  # bytes from a client
STREAMS_LIMIT = 1000  # inboxes on one socket
COUNTERS = frozenset({"reconnects", "rtt_ms", "found_by_socket", "found_by_reconciliation", "loop_lag_ms"})


class FrameError(ValueError):
    """A frame that is not one of the protocol's; str() says what it should have been."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Streams by inbox; None for a stream that starts at its head."""

    streams: Mapping[str, Cursor | None]


@dataclass(frozen=True, slots=True)
class Ping:
    """`counters`: the client's own numbers, for metrics of agents that nobody can scrape; those in COUNTERS only."""

    id: int | str
    ts: float
    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)


def from_client(text: str) -> Subscribe | Ping:
    """Raises FrameError."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        raise FrameError("a frame is one JSON object") from None
    if not isinstance(frame, dict):
        raise FrameError("a frame is one JSON object")
    if frame.get("type") == "subscribe":
        return _subscribe(frame)
    if frame.get("type") == "ping":
        return _ping(frame)
    raise FrameError("a client sends frames of type subscribe and ping")


def _subscribe(frame: Mapping[str, Any]) -> Subscribe:
    streams = frame.get("streams")
    if not isinstance(streams, list) or not 0 < len(streams) <= STREAMS_LIMIT:
        raise FrameError(f"subscribe.streams is a list of 1 to {STREAMS_LIMIT} streams")
    return Subscribe(dict(_stream(entry) for entry in streams))


def _stream(entry: Any) -> tuple[str, Cursor | None]:
    if not isinstance(entry, dict) or not isinstance(entry.get("inbox"), str):
        raise FrameError('a stream is {"inbox": ADDRESS, "cursor": CURSOR or null}')
    return entry["inbox"], _cursor(entry["cursor"]) if entry.get("cursor") is not None else None


def _cursor(value: Any) -> Cursor:
    try:
        return Cursor.parse(value if isinstance(value, str) else "")
    except ValueError as error:
        raise FrameError(str(error)) from None


def _ping(frame: Mapping[str, Any]) -> Ping:
    number, ts, cursors, counters = (frame.get(name) for name in ("id", "ts", "cursors", "counters"))
    if not isinstance(number, int | str) or len(str(number)) > 64:
        raise FrameError("ping.id is a number or a short text")
    if not _is_number(ts):
        raise FrameError("ping.ts is a time in seconds")
    given = cursors if isinstance(cursors, dict) else {}
    own = counters if isinstance(counters, dict) else {}
    return Ping(
        number, float(ts or 0), {inbox: _cursor(text) for inbox, text in list(given.items())[:STREAMS_LIMIT]},
        {name: float(value) for name, value in own.items() if name in COUNTERS and _is_number(value)},
    )  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18 and math.isfinite(value)


def hello(session: str, timing: Timing, max_age_s: int, reconnect_spread_s: int) -> dict[str, Any]:
    return {
        "type": "hello", "version": VERSION, "session": session, "heartbeat_interval_ms": int(timing.interval_s * 1000),
        "pong_timeout_ms": int(timing.pong_timeout_s * 1000), "missed_limit": timing.missed_limit, "max_age_s": max_age_s,
        "reconnect_spread_ms": reconnect_spread_s * 1000,
    }  # fmt: skip


def subscribed(streams: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each stream: inbox, epoch, recovered, reason (epoch_changed, too_old, too_many, not_found or null), head, oldest."""
    return {"type": "subscribed", "streams": list(streams)}


def pong(ping: Ping, heads: Mapping[str, str] | None) -> dict[str, Any]:
    """`heads` None: the store can't be asked at this moment, and the client must not take silence for emptiness."""
    return {"type": "pong", "id": ping.id, "ts": ping.ts, "heads": heads}


def reconnect(reason: str, retry_after_ms: int, deadline_ms: int) -> dict[str, Any]:
    return {"type": "reconnect", "reason": reason, "retry_after_ms": retry_after_ms, "deadline_ms": deadline_ms}


UNAVAILABLE = "unavailable"  # of an error: the store can't be asked at this moment


def error(code: str, message: str, *, temporary: bool) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": message, "temporary": temporary}
