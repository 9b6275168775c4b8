"""Requests over a path that is slow to answer at all."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from restante.client import http
from restante.client.errors import UnavailableError

SHORT_S = 0.3  # before the kernel sends a second SYN, after 1 s
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


class Full:
    """A listener whose queue is full, so that SYNs are dropped until it accepts."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        self.port = self._listener.getsockname()[1]
        self._held = [stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))]

    def serve(self) -> None:
        for _ in (*self._held, "the one that waits"):
            found, _ = self._listener.accept()
            with found:
                found.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    found.recv(65536)
                    found.sendall(ANSWER)


@pytest.fixture
def full() -> Iterator[Full]:
    with contextlib.ExitStack() as stack:
        yield Full(stack)


def test_a_connection_that_took_too_long_has_more_time_at_the_next_try(
    full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "CONNECT_S", SHORT_S)
    client = http.Http(f"http://127.0.0.1:{full.port}", "token", timeout_s=10)
    with pytest.raises(UnavailableError, match="timed out"):
        client.call("GET", "/")
    threading.Timer(2 * SHORT_S, full.serve).start()
    assert client.call("GET", "/") == {}
