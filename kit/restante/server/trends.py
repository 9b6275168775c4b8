"""How a number moved: what Prometheus would reckon from its history, for the alerts of the server's own."""

from __future__ import annotations

from collections import deque


class Trend:
    """Readings of one number over the last `window_s`."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._readings: deque[tuple[float, float]] = deque()

    def look(self, now: float, value: float) -> None:
        """Take a reading."""
        self._readings.append((now, value))
        while self._readings[0][0] < now - self._window_s:
            self._readings.popleft()

    @property
    def rise(self) -> float:
        """How much it grew since the first reading of the window."""
        return self._readings[-1][1] - self._readings[0][1] if self._readings else 0.0

    def ends_in_s(self) -> float:
        """Seconds until it is 0 at this pace; infinite while it does not fall, or has not been watched for half of the window."""
        if not self._readings or (elapsed := self._readings[-1][0] - self._readings[0][0]) < self._window_s / 2:
            return float("inf")
        return self._readings[-1][1] * elapsed / -self.rise if self.rise < 0 else float("inf")
