"""A transaction of either engine: statements by name. All semantics are written over this, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

Row = tuple[Any, ...]


class Tx(Protocol):
    """`now` is the store's clock, in Unix seconds; it never goes back."""

    now: float

    def all(self, statement: str, /, **parameters: Any) -> list[Row]:
        """Every row."""

    def each(self, statement: str, /, **parameters: Any) -> Iterator[Row]:
        """One row after another, where most are not kept: thousands at once set off Python's garbage collector."""

    def ask(self, statement: str, /, **parameters: Any) -> Callable[[], list[Row]]:
        """Every row, when called. Statements that are asked before the first call may share a round trip."""

    def one(self, statement: str, /, **parameters: Any) -> Row | None:
        """The first row."""

    def run(self, statement: str, /, **parameters: Any) -> int:
        """How many rows it changed."""

    def many(self, statement: str, /, rows: Sequence[Mapping[str, Any]]) -> None:
        """The statement for each of the rows; nothing for none."""


def value(tx: Tx, statement: str, /, **parameters: Any) -> Any:
    """The first column of the one row that there always is."""
    row = tx.one(statement, **parameters)
    assert row is not None, f"{statement} gave no row"
    return row[0]
