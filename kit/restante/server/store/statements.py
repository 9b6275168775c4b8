"""SQL by name: sql/queries.sql for both engines, sql/ENGINE.sql for what one says in its own way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

SQL = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


@cache
def named(engine: str) -> Mapping[str, str]:
    """Name -> statement with `:parameter`s. A name that stands twice is a mistake, and refused."""
    found: dict[str, str] = {}
    for file in ("queries", engine):
        _, *parts = _NAME.split((SQL / f"{file}.sql").read_text())
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            if name in found:
                raise ValueError(f"{file}.sql: the statement {name} stands twice")
            found[name] = text.strip()
    return MappingProxyType(found)


@cache
def for_psycopg(name: str) -> str:
    """The same with psycopg's own parameters, in binary form: as text a list of a hundred costs three to sixty times as much."""
    return _PARAMETER.sub(r"%(\1)b", named("postgresql")[name].replace("%", "%%"))


def migrations(engine: str) -> list[tuple[int, str]]:
    """(number, statements) in order; the file name starts with the number."""
    files = sorted((SQL / engine).glob("[0-9]*.sql"))
    return [(int(path.name.partition("_")[0]), path.read_text()) for path in files]
