"""Requests to the post office over kept connections, from any thread. Each of ours may be sent again: none has an effect twice."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from restante.client.errors import RefusedError, UnauthorizedError, UnavailableError

CONNECTIONS = 10
# Two SYNs may be lost; a path that swallows the third is dead, and a channel may stand any moment. Or it is slow: the try after
# that may take as long as an answer may.
CONNECT_S = 4.0
UNKNOWN = "unknown"  # the code of an answer that is not in the post office's form
BUSY = {408, 425, 429, 500, 502, 503, 504}
# A connection that a middlebox forgot is let go within this, also in the middle of a request (tcp(7), TCP_USER_TIMEOUT).
USER_TIMEOUT_MS = 20_000
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class Http:
    """`token` goes into the Authorization header and nowhere else."""

    def __init__(self, url: str, token: str, timeout_s: float) -> None:
        self.url, self.token, self._timeout_s = url.rstrip("/"), token, timeout_s
        self._connect_s = min(CONNECT_S, timeout_s)
        options: list[tuple[int, int, int | bytes]] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        if _TCP_USER_TIMEOUT is not None:
            options.append((socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, USER_TIMEOUT_MS))
        given: dict[str, Any] = {"maxsize": CONNECTIONS, "retries": False, "socket_options": options}
        proxy = proxy_of(self.url)
        self._pool = urllib3.ProxyManager(proxy, **given) if proxy else urllib3.PoolManager(**given)

    def call(self, method: str, path: str, body: Any = None, *, wait_s: float = 0, **query: Any) -> Any:
        """The answer's JSON. `wait_s` is what the server was asked to wait. Raises UnavailableError or RefusedError."""
        found = self.open(method, path, body, wait_s=wait_s, **query)
        try:
            content = found.data
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"{self.url} broke off its answer: {error}") from error
        return _judge(self.url, found.status, content)

    def open(
        self, method: str, path: str, body: Any = None, *, wait_s: float = 0, read_s: float | None = None,
        headers: dict[str, str] | None = None, **query: Any,
    ) -> urllib3.BaseHTTPResponse:  # fmt: skip
        """The answer, not read yet; the caller reads or closes it."""
        given = {"Authorization": f"Bearer {self.token}", "Accept": "application/json", **(headers or {})}
        if body is not None:
            given["Content-Type"] = "application/json"
        target = self.url + path + (f"?{urlencode(query)}" if query else "")
        connect_s = self._connect_s
        timeout = urllib3.Timeout(connect=connect_s, read=read_s or wait_s + self._timeout_s)
        content = None if body is None else json.dumps(body).encode()
        try:
            return self._pool.request(
                method, target, body=content, headers=given, timeout=timeout, preload_content=False, redirect=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
                self._connect_s = self._timeout_s if connect_s < self._timeout_s else min(CONNECT_S, self._timeout_s)
            raise UnavailableError(f"{self.url} does not answer: {error}") from error

    def stream(self, path: str, chunk: int) -> Iterator[bytes]:
        """The content of an answer, piece by piece. Raises UnavailableError when it breaks off: what came is not whole."""
        found = self.open("GET", path)
        try:
            if found.status >= 300:
                refuse(found.status, found.data)
            yield from found.stream(chunk)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"{self.url} broke off its answer: {error}") from error
        finally:
            found.release_conn()

    def forget(self) -> None:
        """Let go of idle connections: what silenced one path has silenced those of the same age too."""
        self._pool.clear()

    def close(self) -> None:
        self._pool.clear()


def refuse(status: int, content: bytes) -> None:
    """Raises what an answer of `status` means; returns for a success."""
    if status < 300:
        return
    try:
        error = json.loads(content)["error"]
        code, message, details = error["code"], error["message"], error.get("details")
    except (ValueError, KeyError, TypeError):
        code, message, details = UNKNOWN, f"answered {status}, and not as a post office does", None
    if status in BUSY:
        raise UnavailableError(f"the post office is busy: {message} ({status})")
    raise (UnauthorizedError if status in {401, 403} else RefusedError)(
        status, code, f"{message} ({status} {code})", details
    )


def _judge(url: str, status: int, content: bytes) -> Any:
    refuse(status, content)
    try:
        return json.loads(content) if content else None
    except ValueError:
        raise UnavailableError(
            f"{url} answered {status} with something that is no JSON; is it the post office?"
        ) from None


def proxy_of(url: str) -> str | None:
    """The environment's, as curl reads it: https_proxy, http_proxy, no_proxy."""
    parts = urlsplit(url)
    found = urllib.request.getproxies().get(parts.scheme)
    return None if not found or urllib.request.proxy_bypass(parts.hostname or "") else found
