"""What sockets show of the paths behind them, by the thresholds of examples/monitoring/restante.rules.yml."""

from __future__ import annotations

from collections.abc import Iterator

from restante.protocol.codes import Close
from restante.server.api.context import Post
from restante.server.trends import Trend

WINDOW_S = 600
SLOW_SOCKETS = 0.05 * WINDOW_S  # dropped within the window
SILENT_SHARE, SILENT_FLOOR = 0.01, 2  # of all sockets, and beyond that
LATE_S, LATE_SHARE = 1, 0.01  # signals that came later than that after their commit
FOUND_FLOOR = 20  # mails that reconciliation found


class Paths:
    """Looked at again and again, it tells what has been so for the last ten minutes."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._slow, self._silent, self._signals, self._in_time = (Trend(WINDOW_S) for _ in range(4))

    def look(self, now: float) -> Iterator[tuple[str, str]]:
        """(key, sentence) of each condition that holds. `now` is of any clock that goes on."""
        value, delays = self._post.metrics.value, "restante_signal_delay_seconds"
        self._slow.look(now, value("restante_slow_sockets_total"))
        self._silent.look(now, value("restante_socket_closes_total", code=str(int(Close.SILENT))))
        self._signals.look(now, value(f"{delays}_count"))
        self._in_time.look(now, value(f"{delays}_bucket", le=f"{LATE_S:.1f}"))
        sockets = len(self._post.sessions.open)
        if self._slow.rise > SLOW_SOCKETS:
            yield "slow-sockets", f"{self._slow.rise:.0f} clients that do not read were dropped within ten minutes"
        if self._silent.rise > SILENT_SHARE * sockets + SILENT_FLOOR:
            yield (
                "clients-silent",
                f"{self._silent.rise:.0f} clients fell silent within ten minutes, of {sockets} connected now",
            )
        late = self._signals.rise - self._in_time.rise
        if late > LATE_SHARE * self._signals.rise:
            yield (
                "signals-slow",
                f"{late:.0f} of {self._signals.rise:.0f} signals came over a second after their commit",
            )
        yield from self._reconciliation()

    def _reconciliation(self) -> Iterator[tuple[str, str]]:
        told, found = (
            sum(each.counters.get(name, 0) for each in self._post.sessions.open)
            for name in ("found_by_socket", "found_by_reconciliation")
        )
        if found > max(told, FOUND_FLOOR):
            yield (
                "reconciliation",
                f"reconciliation found {found:.0f} mails, and sockets told of {told:.0f}: a path does not earn its socket",
            )
