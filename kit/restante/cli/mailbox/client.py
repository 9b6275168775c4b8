"""How the mailbox verbs reach a post office: a URL and a token from the environment, or the host's own admin socket."""

from __future__ import annotations

import functools
import http.client
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import click

from restante.errors import FoundError, InputError

ADMIN_SOCKET = Path("/run/restante/admin.sock")
LOCAL = "http://127.0.0.1:8025"


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(ADMIN_SOCKET))


class Client:
    """`url` "" is the admin socket. A token comes from RESTANTE_TOKEN or a file: on a command line every user would see it."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self._token = url, token
        self._parts = urlsplit(url)
        if url and self._parts.scheme not in {"http", "https"}:
            raise InputError(f"{url} is no URL of a post office; as in https://mail.example.org")

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's JSON. Raises FoundError with the server's sentence."""
        status, found = self.fetch(method, path, body, **query)
        content = json.loads(found) if found else None
        if status >= 400:
            error = (content or {}).get("error", {})
            raise FoundError(
                f"{error.get('message', 'refused')} ({status} {error.get('code', '')}, request {error.get('request_id', '')})"
            )
        return content

    def fetch(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, bytes]:
        given = {key.rstrip("_"): value for key, value in query.items() if value is not None}
        target = f"{self._parts.path.rstrip('/')}{path}" + (f"?{urlencode(given)}" if given else "")
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        content = None if body is None else json.dumps(body)
        connection = self._connection()
        try:
            connection.request(method, target, content, {**headers, "Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            where = self.url or ADMIN_SOCKET
            raise FoundError(
                f"no post office answers at {where}: {error}; set RESTANTE_URL, or start one with `restante up`"
            ) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self.url:
            return _Unix("localhost", timeout=60)
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=60)


def path(*parts: str) -> str:
    """/v1 and the parts, each quoted."""
    return "/v1/" + "/".join(quote(part, safe="@") for part in parts)


def connected(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options for where the post office is; the verb gets `client`."""

    @click.option(
        "--url", envvar="RESTANTE_URL", help="The post office; the host's admin socket, or this machine's, by default."
    )
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A file that holds the token, instead of RESTANTE_TOKEN.",
    )
    @functools.wraps(function)
    def inner(url: str | None, token_file: Path | None, **rest: Any) -> Any:
        token = token_file.read_text().strip() if token_file else os.environ.get("RESTANTE_TOKEN")
        where = url if url is not None else "" if os.access(ADMIN_SOCKET, os.W_OK) else LOCAL
        return function(client=Client(where, token), **rest)

    return inner


def show(content: Any, as_json: bool, lines: Callable[[Any], list[str]]) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False) if as_json else "\n".join(lines(content)))


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """Aligned columns; no line for nothing but the head."""
    texts = [head, *([("" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts]
