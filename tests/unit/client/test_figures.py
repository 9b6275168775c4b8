"""What the numbers say, in words."""

from __future__ import annotations

from restante.client.figures import Figures, Text, judge
from restante.client.found import Found


def test_a_path_that_does_not_earn_its_socket_is_said() -> None:
    figures = Figures(channel="websocket", found_by_socket=5, found_by_reconciliation=20)
    health = judge(figures, up=True, failure=None)
    assert not health.ok
    assert "your reconciliation keeps finding mail (80 %): this path does not earn its socket" in health.verdict
    assert health.data["found_by_socket"] == 5


def test_other_verdicts() -> None:
    assert judge(Figures(channel="websocket"), up=True, failure=None).ok
    assert "over sse" in judge(Figures(channel="sse"), up=True, failure=None).verdict
    assert "polling" in judge(Figures(), up=False, failure=None).verdict
    assert judge(Figures(), up=True, failure="the token was revoked").verdict == "stopped: the token was revoked"


def test_a_signal_before_or_within_ten_seconds_is_the_socket_s() -> None:
    figures = Figures()
    found = Found(figures)
    found.signalled("early")
    found.received("early", 0.1)
    found.received("late", 0.1)
    found.signalled("late")
    found.received("never", 11)
    assert (figures.found_by_socket, figures.found_by_reconciliation) == (2, 1)


def test_prometheus_text() -> None:
    figures = Figures(channel="sse", rtt_s=0.25)
    figures.reconnects["silent"] = 2
    shown = Text(figures, "a@example.org").render()
    assert 'restante_mailbox_reconnects{inbox="a@example.org",cause="silent"} 2\n' in shown
    assert 'restante_mailbox_rtt_seconds{inbox="a@example.org"} 0.25\n' in shown
    assert 'restante_mailbox_channel{inbox="a@example.org",name="sse"} 1\n' in shown
