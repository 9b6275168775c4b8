"""Schema versions, forward only. Each is tolerated by the server before and after it: a rollback is one swap."""

from __future__ import annotations

import sqlite3
from typing import Any

from restante.server.store.statements import migrations

_TABLE = "CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, applied_at DOUBLE PRECISION NOT NULL)"
_OWNER = "restante_owner"
_MAY_BECOME = """SELECT 1 FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba
WHERE datname = current_database() AND rolname = %s AND pg_has_role(datdba, 'MEMBER')"""
_LOCK = 0x7E57A  # any number that is ours: two servers that start at once take turns


def sqlite(connection: sqlite3.Connection, now: float) -> list[int]:
    """Apply what is missing, each in a transaction of its own; the numbers that were."""
    connection.execute(_TABLE)
    there = {row[0] for row in connection.execute("SELECT number FROM migration")}
    missing = [(number, text) for number, text in migrations("sqlite") if number not in there]
    for number, text in missing:
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{text}\nINSERT INTO migration VALUES ({number}, {now!r});\nCOMMIT;"
            )
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return [number for number, _ in missing]


def postgresql(connection: Any, now: float) -> list[int]:
    """The same on a psycopg connection in autocommit, as the database's owner where that is a role apart (templates/parts/store-roles)."""
    if connection.execute(_MAY_BECOME, [_OWNER]).fetchone():
        connection.execute(f"SET ROLE {_OWNER}")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute(_TABLE)
    applied = []
    for number, text in migrations("postgresql"):
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            if connection.execute("SELECT 1 FROM migration WHERE number = %s", [number]).fetchone():
                continue
            connection.execute(text)
            connection.execute("INSERT INTO migration VALUES (%s, %s)", [number, now])
            applied.append(number)
    return applied
