"""Events of a stream as frames, however the bytes are cut."""

from __future__ import annotations

import pytest

from restante.client.channels import events

STREAM = (
    b'retry: 1500\n\n: a comment\n\nevent: signal\nid: 1a2b3c4d:7\ndata: {"id": "x",\ndata: "cursor": "1a2b3c4d:7"}\n\n'
    b'event: heartbeat\r\ndata: {"head": "1a2b3c4d:7"}\r\n\r\nevent: lonely\n\ndata: {}\n\n'
)
FRAMES = [
    {"type": "signal", "id": "x", "cursor": "1a2b3c4d:7"},
    {"type": "heartbeat", "head": "1a2b3c4d:7"},
    {"type": "message"},
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events(size: int) -> None:
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert list(events(chunks)) == FRAMES
