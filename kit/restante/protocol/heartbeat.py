"""The heartbeat's table for both ends. The client asks, the server answers; silence is judged on both sides.

client  every interval                         sends ping
        pong within pong_timeout               misses = 0
        no pong within pong_timeout            misses + 1
        misses = missed_limit                  the connection is dead: detach, reconnect
server  ping                                   answers pong with the head of every stream
        no ping for server_silence             closes with SILENT
"""

from __future__ import annotations

from dataclasses import dataclass

# A client clamps what a server announces: outside of this, a mistake of one would blind or flood the other.
INTERVAL_RANGE_S = (1.0, 300.0)
PONG_RANGE_S = (0.5, 60.0)
MISSED_RANGE = (1, 5)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. The defaults are the mission's."""

    interval_s: float = 15
    pong_timeout_s: float = 5
    missed_limit: int = 2
    server_silence_s: float = 45

    @property
    def detection_s(self) -> float:
        """From a silent drop to knowing, at worst: the drop comes right after a ping was answered."""
        return self.missed_limit * self.interval_s + self.pong_timeout_s

    def clamped(self) -> Timing:
        def clamp(value: float, bounds: tuple[float, float]) -> float:
            return min(max(value, bounds[0]), bounds[1])

        interval = clamp(self.interval_s, INTERVAL_RANGE_S)
        pong = min(clamp(self.pong_timeout_s, PONG_RANGE_S), interval * 0.9)
        return Timing(interval, pong, int(clamp(self.missed_limit, MISSED_RANGE)), self.server_silence_s)
