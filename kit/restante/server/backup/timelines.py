"""Timelines of PostgreSQL's log: a failover begins one at a point of the one before. What that holds beyond it is in no later history.

Source: PostgreSQL, Continuous Archiving, Timelines; its timeline.c for the files, xlogrecovery.c for which segment recovery reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SEGMENT_BYTES = 16 << 20
SEGMENTS = 0x100  # in one file of the log's middle number, at PostgreSQL's own segment size of 16 MiB
OPEN = 1 << 64  # beyond every position
FILES = "[0-9A-F]" * 8 + ".history"


@dataclass(frozen=True)
class History:
    """`ends`: timeline -> where it was left, the oldest first; the last is open."""

    ends: dict[int, int]

    @property
    def timeline(self) -> int:
        return max(self.ends)

    @property
    def begins(self) -> int:
        """Where its last timeline does."""
        return max((end for end in self.ends.values() if end != OPEN), default=0)

    def follows(self, earlier: History) -> bool:
        """Whether it went on from there, or is the same; not when it left an earlier timeline elsewhere."""
        left = {timeline: end for timeline, end in earlier.ends.items() if end != OPEN}
        return left.items() <= self.ends.items() and self.ends.get(earlier.timeline, 0) > earlier.begins

    def lacks(self, segment: str) -> bool:
        """Whether all of it lies beyond the end of its timeline here."""
        return number(segment) * SEGMENT_BYTES >= self._end(segment)

    def cuts(self, segment: str) -> bool:
        """Whether its timeline ends here before it does."""
        return (number(segment) + 1) * SEGMENT_BYTES > self._end(segment)

    def _end(self, segment: str) -> int:
        return self.ends.get(int(segment[:8], 16), 0)

    def segment(self, wanted: int) -> str:
        """What recovery reads number `wanted` from: where timelines meet, the later one's segment begins with the earlier one's log."""
        timeline = next(timeline for timeline, end in self.ends.items() if end // SEGMENT_BYTES > wanted)
        return f"{timeline:08X}{wanted // SEGMENTS:08X}{wanted % SEGMENTS:08X}"


def read(timeline: int, text: str) -> History:
    """Of `timeline`, whose file of history says `text`: lines such as `1 0/301E430 reason`, one for each before it."""
    lines = (line.split() for line in text.splitlines() if line[:1].isdigit())
    return History({int(line[0]): position(line[1]) for line in lines} | {timeline: OPEN})


def newest(*folders: Path) -> History:
    """Of the newest timeline whose file lies in one of them; the first one has no file."""
    found = max((path for each in folders for path in each.glob(FILES)), key=lambda path: path.name, default=None)
    return read(int(found.stem, 16), found.read_text()) if found else History({1: OPEN})


def position(text: str) -> int:
    """As in 0/5192500."""
    high, low = (int(part, 16) for part in text.split("/"))
    return high << 32 | low


def number(segment: str) -> int:
    return int(segment[8:16], 16) * SEGMENTS + int(segment[16:24], 16)
