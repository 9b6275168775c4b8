"""Where this reader stands in its inbox, and what each frame from the post office means."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from restante.client.errors import RefusedError
from restante.client.figures import Figures
from restante.client.found import Found
from restante.protocol.liveness import Liveness
from restante.protocol.messages import UNAVAILABLE
from restante.protocol.position import Cursor

log = logging.getLogger("restante.client")


class Subscription:
    """`news` is set when there may be mail. `signals`, when somebody listens, gets each signal, and a gap with the cursor before it."""

    def __init__(self, inbox: str, figures: Figures, found: Found) -> None:
        self.inbox, self._figures, self._found = inbox, figures, found
        self.position: Cursor | None = None
        self.news = threading.Event()
        self.signals: queue.Queue[dict[str, Any]] | None = None

    def request(self) -> dict[str, Any]:
        return {"type": "subscribe", "streams": [{"inbox": self.inbox, "cursor": self.cursor}]}

    @property
    def cursor(self) -> str | None:
        return str(self.position) if self.position else None

    def listen(self) -> None:
        """From now on signals are kept for `heard`."""
        self.signals = queue.Queue()

    def heard(self, wait_s: float) -> list[dict[str, Any]]:
        """What came, or nothing after `wait_s`."""
        assert self.signals is not None
        try:
            return [self.signals.get(timeout=wait_s)]
        except queue.Empty:
            return []

    def feed(self, frame: dict[str, Any], live: Liveness, now: float) -> float | None:
        """Seconds after which another connection is to be opened, when the frame asks for that."""
        kind = str(frame.get("type"))
        if kind == "pong":
            live.pong(frame.get("id", -1), now)
            self._figures.rtt_s = live.rtt_s or self._figures.rtt_s
            self._figures.heartbeat_at = now
        elif kind == "heartbeat":
            live.beat(now)
            self._figures.heartbeat_at = now
        else:
            live.heard(now)
        if kind == "reconnect":
            return float(frame.get("retry_after_ms", 0)) / 1000
        if kind in _HANDLERS:
            _HANDLERS[kind](self, frame)
        return None

    def subscribed(self, frame: dict[str, Any]) -> None:
        """Raises RefusedError when there is no such inbox for this token."""
        [stream] = frame["streams"]
        self._figures.store_away = 0
        if stream.get("reason") == "not_found":
            raise RefusedError(404, "not_found", f"there is no inbox {self.inbox}, or this token is not for it")
        if not stream["recovered"]:
            self._reset(stream)
        elif self.position is None:
            self.position = Cursor.parse(stream["head"])

    def afresh(self) -> None:
        """History was rewritten: what is known means nothing."""
        self.position = None
        self._figures.resets += 1
        self.news.set()

    def _signal(self, frame: dict[str, Any]) -> None:
        cursor = Cursor.parse(frame["cursor"])
        self._figures.store_away = 0
        if self.position and self.position.epoch == cursor.epoch and cursor.seq > self.position.seq + 1:
            self._gap()
        self.position = cursor
        self._found.signalled(frame["id"])
        if self.signals is not None:
            self.signals.put(frame)
        self.news.set()

    def _heads(self, frame: dict[str, Any]) -> None:
        heads = frame.get("heads")
        self._store_is_away(heads is None)
        for head in (heads or {}).values():
            self._at({"head": head})

    def _beat(self, frame: dict[str, Any]) -> None:
        self._store_is_away(bool(frame.get("stale")))
        if not self._figures.store_away:
            self._at(frame)

    def _store_is_away(self, away: bool) -> None:
        """Then a heartbeat's heads are missing or old, which is no news and no emptiness either; who waits asks for himself."""
        if away:
            self.news.set()
        self._figures.store_away = int(away)

    def _at(self, frame: dict[str, Any]) -> None:
        head = Cursor.parse(frame["head"])
        if self.position is None or head.epoch != self.position.epoch:
            self._reset(frame)
        elif head.seq > self.position.seq:
            self._gap()
            self.position = head
            self.news.set()

    def _reset(self, frame: dict[str, Any]) -> None:
        if self.position is not None:
            self._figures.resets += 1
            self._gap()
        self.position = Cursor.parse(frame["head"])
        self.news.set()

    def _gap(self) -> None:
        self._figures.gaps += 1
        if self.signals is not None:
            self.signals.put({"type": "gap", "after": self.cursor})

    def _error(self, frame: dict[str, Any]) -> None:
        log.warning("the post office says: %s", frame.get("message"))
        if frame.get("code") == UNAVAILABLE:
            self._store_is_away(True)


_HANDLERS: dict[str, Callable[[Subscription, dict[str, Any]], None]] = {
    "signal": Subscription._signal, "pong": Subscription._heads, "heartbeat": Subscription._beat,
    "subscribed": Subscription.subscribed, "reset": Subscription._reset, "error": Subscription._error,
}  # fmt: skip
