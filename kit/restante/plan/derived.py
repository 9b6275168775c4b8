"""A derived value and how it came to be. Every number that a template prints is one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from restante.spec.model import Value


@dataclass(frozen=True)
class Derived:
    """`because` is the rule, `risk` what happens when it is otherwise, `source` who says so; `spec_key` is what steers it."""

    key: str
    value: int
    unit: str
    because: str
    risk: str
    source: str
    spec_key: str

    def __str__(self) -> str:
        return str(self.value)


@dataclass
class Values:
    """The table of derived values while it grows: an override takes the place of the number it names."""

    overrides: Mapping[str, Value]
    table: dict[str, Derived] = field(default_factory=dict)

    def add(self, key: str, value: int, unit: str, because: str, *, risk: str, source: str, spec_key: str) -> int:
        """Record a value; returns the one in force, so that what follows from it follows from the override."""
        if own := self.overrides.get(key):
            because = f"Overridden from {value}: {own.because}"
            value, source, spec_key = own.value, "the operator's override", f"overrides.values.{key}"
        self.table[key] = Derived(key, value, unit, because, risk, source, spec_key)
        return value

    def __getitem__(self, key: str) -> int:
        return self.table[key].value


@dataclass(frozen=True)
class Rule:
    """One inequality of the chain: `left` must stay below `right`, both in seconds."""

    name: str
    left: str
    left_s: int
    right: str
    right_s: int
    because: str
    remedy: str
    spec_key: str
    strict: bool = True

    @property
    def holds(self) -> bool:
        return self.left_s < self.right_s or (not self.strict and self.left_s == self.right_s)

    def sentence(self) -> str:
        sign = "below" if self.strict else "at or below"
        return (
            f"{self.left} is {self.left_s} s and must stay {sign} {self.right}, {self.right_s} s: "
            f"{self.because}; {self.remedy}"
        )
