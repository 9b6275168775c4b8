"""The line is let go of once, whoever asks."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from restante.client.figures import Figures
from restante.client.found import Found
from restante.client.http import Http
from restante.client.line import Line
from restante.client.settings import Settings
from restante.client.subscription import Subscription

INBOX = "support@example.org"


def test_a_line_may_be_stopped_while_it_is_being_stopped() -> None:
    """A cancelled task closes its mailbox in one thread, the block around it in another."""
    figures = Figures()
    settings = Settings("http://127.0.0.1:9", INBOX, "token")
    http = Http(settings.url, settings.token, 1)
    line = Line(http, settings, Subscription(INBOX, figures, Found(figures)), figures)
    asked: list[object] = []

    def call_soon_threadsafe(cancel: object) -> None:
        asked.append(cancel)
        if len(asked) == 1:
            line.stop()

    line._thread = threading.Thread(target=lambda: None)
    line._thread.start()
    line._loop = SimpleNamespace(call_soon_threadsafe=call_soon_threadsafe)  # type: ignore[assignment]
    line._task = SimpleNamespace(cancel=None)  # type: ignore[assignment]
    line.stop()
    assert len(asked) == 2
    assert not line.running
