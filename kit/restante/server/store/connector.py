"""Connections to one PostgreSQL, or to that one of several hosts which takes writes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from restante.server.store.tx import Row

# A connection that is stuck on a dead server is let go: libpq, 34.1.2. What the URL says itself stands.
DEFAULTS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Connector:
    """`url` is a libpq URL or conninfo, without a password when `password` gives it. Used from several threads."""

    def __init__(self, url: str, password: str | None = None) -> None:
        said = conninfo_to_dict(url)
        self._url = url
        self._more: dict[str, Any] = {key: value for key, value in DEFAULTS.items() if key not in said}
        self._more |= {"password": password} if password else {}
        self._hosts = _hosts(said)
        self._serving = self._hosts[0]
        self.generation = 0
        """Counts the hosts that served. What is connected to an earlier one may be a leader that was frozen and knows of no other yet."""
        self.patience_s = int(said.get("tcp_user_timeout") or DEFAULTS["tcp_user_timeout"]) / 1000

    def connect(self) -> psycopg.Connection[Row]:
        """To the first that serves; one that failed is asked last from then on, so a dead one costs its timeout once.

        Raises psycopg.OperationalError with what each of them said.
        """
        failures = []
        for host in list(self._hosts):
            try:
                found = psycopg.connect(self._url, autocommit=True, **self._more, **host)
            except psycopg.OperationalError as error:
                failures.append(str(error).strip())
                with contextlib.suppress(ValueError):  # another thread is moving it just now
                    self._hosts.remove(host)
                    self._hosts.append(host)
            else:
                if host != self._serving:
                    self._serving, self.generation = host, self.generation + 1
                return found
        raise psycopg.OperationalError("; ".join(failures))


def _hosts(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What leads to each host that the conninfo names; of one or none, the conninfo itself does."""
    names = str(said.get("host") or "").split(",")
    ports = str(said.get("port") or "").split(",")
    if len(names) == 1:
        return [{}]
    return [{"host": name, "port": port} for name, port in zip(names, ports * (len(names) // len(ports)), strict=True)]
