"""Where a reader stands in an inbox: a cursor names a history (epoch) and the last number seen."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CURSOR = re.compile(r"([0-9a-f]{8}):([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Cursor:
    """`str()` is its form on the wire, EPOCH:NUMBER."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises ValueError with a sentence."""
        match = _CURSOR.fullmatch(text)
        if not match:
            raise ValueError(f"{text[:60]!r} is not a cursor; give one back as it was received, as in 1a2b3c4d:17")
        return cls(match[1], int(match[2]))
