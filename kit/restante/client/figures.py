"""What a mailbox knows of its own path: counted as it happens, shown as data, as Prometheus text, and as a verdict in words."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GRACE_S = 10.0  # a message counts as found by reconciliation when no signal for it had come after so long
ENOUGH = 20  # messages, before a path is judged by them
EARN_SHARE = 0.5  # of the mail that a socket must have told of to earn its keep


@dataclass
class Figures:
    """Seconds where a name ends in `_s`. Written by one thread each, read by any."""

    channel: str = "none"
    """What carries signals: websocket, sse or poll."""
    reconnects: Counter[str] = field(default_factory=Counter)
    """Connections that ended, by cause."""
    between_reconnects_s: float = 0.0
    """How long the last connection lived."""
    rtt_s: float = 0.0
    """The last heartbeat's round trip."""
    heartbeat_at: float | None = None
    """When a heartbeat was answered last, by CLOCK_BOOTTIME."""
    store_away: int = 0
    """1 while the post office says that it can't ask its store."""
    found_by_socket: int = 0
    """Messages of which a signal told."""
    found_by_reconciliation: int = 0
    """Messages that were readable for 10 s without a signal."""
    gaps: int = 0
    """Heartbeats that showed mail of which no signal had come."""
    resets: int = 0
    """History was rewritten, or the cursor was too old: all was reconciled."""
    zombie_s: float = 0.0
    """The last silent connection: from its last byte to being declared dead."""
    lag_s: float = 0.0
    """The longest that this process's own loop stood still."""
    received: int = 0
    """Deliveries that came, repeats too."""
    acknowledged: int = 0
    """Deliveries that were handled."""
    released: int = 0
    """Given back uncounted: the process stopped."""
    failed: int = 0
    """Handlers that raised, and whose message was given back."""
    overran: int = 0
    """Handlers that took longer than max_handling."""

    def counters(self) -> dict[str, float]:
        """What goes with each ping, for the server's own metrics (restante.protocol.messages.COUNTERS)."""
        return {
            "reconnects": self.reconnects.total(), "rtt_ms": round(self.rtt_s * 1000, 3), "found_by_socket": self.found_by_socket,
            "found_by_reconciliation": self.found_by_reconciliation, "loop_lag_ms": round(self.lag_s * 1000, 3),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Health:
    """`ok` and a sentence; `data` has the numbers behind it."""

    ok: bool
    verdict: str
    data: Mapping[str, Any]


def judge(figures: Figures, *, up: bool, failure: str | None) -> Health:
    data = {**vars(figures), "reconnects": dict(figures.reconnects), "up": up}
    found = figures.found_by_socket + figures.found_by_reconciliation
    if failure:
        return Health(False, f"stopped: {failure}", data)
    if not up:
        return Health(False, "no push channel stands at this moment; mail comes by polling", data)
    if figures.store_away:
        sentence = "the post office answers, and its store does not"
        return Health(False, f"{sentence}: new mail waits in front of it and comes when the store is back", data)
    if found >= ENOUGH and figures.found_by_socket < EARN_SHARE * found:
        share = round(100 * figures.found_by_reconciliation / found)
        sentence = f"your reconciliation keeps finding mail ({share} %): this path does not earn its socket"
        return Health(False, f"{sentence}; look for a middlebox, or use push=False", data)
    if figures.channel != "websocket":
        return Health(True, f"signals come over {figures.channel}: a proxy on this path refuses WebSocket", data)
    return Health(True, "signals come over a WebSocket, and heartbeats are answered", data)


class Text:
    """The figures in Prometheus' text format, on loopback or where told."""

    def __init__(self, figures: Figures, inbox: str) -> None:
        self._figures, self._inbox = figures, inbox

    def render(self) -> str:
        lines = []
        for name, value in vars(self._figures).items():
            if value is None:
                continue
            if isinstance(value, Counter):
                lines += [self._line(name, number, cause=cause) for cause, number in value.items()]
            elif isinstance(value, str):
                lines.append(self._line(name, 1, name=value))
            else:
                lines.append(self._line(name, value))
        return "\n".join(lines) + "\n"

    def _line(self, figure: str, value: float, **labels: str) -> str:
        unit = f"{figure[:-2]}_seconds" if figure.endswith("_s") else figure
        shown = ",".join(f'{key}="{text}"' for key, text in {"inbox": self._inbox, **labels}.items())
        return f"restante_mailbox_{unit}{{{shown}}} {value}"

    def serve(self, port: int, address: str) -> threading.Thread:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = page.render().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Scrapes are no news."""

        server = ThreadingHTTPServer((address, port), Handler)
        thread = threading.Thread(target=server.serve_forever, name="restante-metrics", daemon=True)
        thread.start()
        return thread
