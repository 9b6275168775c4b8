"""A stop while requests come in: who was let in is answered, who was not waits for the next process."""

from __future__ import annotations

import socket
from pathlib import Path

from office import serving, settings


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 10).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


def test_who_was_accepted_before_a_stop_and_asks_after_it_is_answered(tmp_path: Path) -> None:
    """A connection's first bytes may still be under way when the server stops."""
    with serving(settings(tmp_path)) as office, socket.create_connection(("127.0.0.1", office.http_port), 10) as early:
        assert office.call("GET", "/healthz").status == 200, "accepted in order: so is the one before"
        office.loop.call_soon_threadsafe(office.office.stop)
        while not refused(office.http_port):
            pass
        early.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert early.recv(100).startswith(b"HTTP/1.1 200 ")


def test_who_is_accepted_and_never_asks_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as office, socket.create_connection(("127.0.0.1", office.http_port), 10) as mute:
        assert office.call("GET", "/healthz").status == 200
        office.loop.call_soon_threadsafe(office.office.stop)
        assert mute.recv(1) == b""
