"""What the path may do to an agent: it is noticed within the bound, and no mail is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hostile_path import HostilePath
from office import INBOX, Office, serving, settings

from restante import Mailbox
from restante.server.push import hub
from restante.server.settings import Heartbeat
from restante.server.store.base import StoreError

INTERVAL_S, PONG_S = 1, 1  # whole seconds are the server's; the client clamps the second below the first
BOUND_S = 2 * INTERVAL_S + PONG_S


@dataclass
class Agent:
    """A consumer in a thread, behind a path that may turn hostile."""

    box: Mailbox
    office: Office
    path: HostilePath
    seen: list[str] = field(default_factory=list)

    def run(self) -> None:
        for delivery in self.box.consume():
            with delivery:
                self.seen.append(delivery.message.subject)

    def until(self, condition: Callable[[], object], limit_s: float = 20) -> float:
        """Seconds until it holds."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() < began + limit_s, (self.box.figures, self.seen)
            threading.Event().wait(0.01)
        return time.monotonic() - began

    def stands(self, channel: str = "websocket") -> bool:
        return bool(self.box._line and self.box._line.up and self.box.figures.channel == channel)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    beat = Heartbeat(interval_s=INTERVAL_S, pong_timeout_s=PONG_S, misses=2, server_silence_s=10)
    with serving(settings(tmp_path, heartbeat=beat)) as office, HostilePath(office.http_port) as path:
        box = Mailbox(f"http://127.0.0.1:{path.port}", inbox=INBOX, token=office.token, timeout_s=2, reconcile_s=600)
        made = Agent(box, office, path)
        thread = threading.Thread(target=made.run)
        thread.start()
        made.until(made.stands)
        yield made
        box.stop()
        thread.join(20)
        box.close()


@pytest.mark.parametrize("way", ["both", "up", "down"])
def test_silence_is_noticed_within_the_bound_and_the_mail_of_meanwhile_comes(agent: Agent, way: str) -> None:
    agent.path.path.silent = way
    agent.office.send("in the silence")
    took = agent.until(lambda: agent.box.figures.reconnects["silent"])
    assert took < BOUND_S + 1
    assert agent.box.figures.zombie_s <= BOUND_S + 1
    agent.path.heal()
    agent.until(agent.stands)
    agent.until(lambda: "in the silence" in agent.seen)
    agent.office.send("afterwards")
    agent.until(lambda: agent.seen == ["in the silence", "afterwards"])


def test_a_path_slower_than_the_pong_s_limit_is_as_good_as_dead(agent: Agent) -> None:
    agent.path.path.delay_s = PONG_S * 1.5
    agent.until(lambda: agent.box.figures.reconnects["silent"])
    agent.path.heal()
    agent.until(agent.stands)


def test_a_reset_is_noticed_at_once_and_the_line_comes_back(agent: Agent) -> None:
    agent.path.reset()
    assert agent.until(lambda: agent.box.figures.reconnects["closed 1006"]) < 1
    agent.office.send("while away")
    agent.until(lambda: agent.seen == ["while away"])
    agent.until(agent.stands)


def test_a_signal_that_is_lost_shows_at_the_next_heartbeat(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    from restante.server.push import websocket

    async def lost(*_: object) -> None:
        return None

    agent.until(lambda: agent.box.figures.rtt_s)  # it waits for signals by now

    monkeypatch.setattr(websocket.Session, "_signals", lost)
    agent.office.send("unannounced")
    took = agent.until(lambda: agent.seen == ["unannounced"])
    assert took < INTERVAL_S + PONG_S + 1
    assert agent.box.figures.gaps == 1


def test_the_line_moves_on_before_what_is_in_front_of_the_post_office_cuts_it(agent: Agent) -> None:
    async def move() -> None:
        agent.office.office.move()

    agent.office.run(move())
    agent.until(lambda: agent.box.figures.reconnects["rotated"])
    assert agent.stands(), "the new one stood before the old one went"
    assert set(agent.box.figures.reconnects) == {"rotated"}
    agent.office.send("moved")
    agent.until(lambda: agent.seen == ["moved"])


def test_a_handler_that_blocks_for_long_kills_nothing(agent: Agent) -> None:
    began = threading.Event()
    original = agent.seen.append

    class Slow(list):  # type: ignore[type-arg]
        def append(self, item: str) -> None:
            began.set()
            time.sleep(BOUND_S + 1)  # a tool call
            original(item)

    slow, agent.seen = agent.seen, Slow()
    agent.office.send("slow")
    assert began.wait(10)
    agent.until(lambda: slow == ["slow"])
    assert agent.stands()
    assert agent.box.figures.reconnects.total() == 0


def test_a_loop_that_stood_still_is_told_as_lag_while_the_line_stands(agent: Agent) -> None:
    beat = agent.box.figures.heartbeat_at
    agent.until(lambda: agent.box.figures.heartbeat_at != beat)  # right after an answer, so that none is awaited
    assert agent.box._line
    assert agent.box._line._loop
    agent.box._line._loop.call_soon_threadsafe(time.sleep, INTERVAL_S + 2)
    agent.until(lambda: agent.box.figures.lag_s > 1)
    assert agent.stands()
    assert not agent.box.figures.reconnects


def test_a_proxy_that_refuses_upgrade_leads_to_a_stream_and_one_that_refuses_that_to_polling(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as office, HostilePath(office.http_port) as path:
        for refuse, channel in ((("/v1/ws",), "sse"), (("/v1/ws", "/stream"), "poll")):
            path.path.refuse = refuse
            box = Mailbox(f"http://127.0.0.1:{path.port}", inbox=INBOX, token=office.token, poll_s=5)
            agent = Agent(box, office, path)
            thread = threading.Thread(target=agent.run)
            thread.start()
            agent.until(lambda a=agent, c=channel: a.box.figures.channel == c)  # type: ignore[misc]
            office.send("one", "two")
            agent.until(lambda a=agent: a.seen == ["one", "two"])  # type: ignore[misc]
            box.stop()
            thread.join(20)
            box.close()


def test_the_post_office_is_away_and_the_agent_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as office, HostilePath(office.http_port) as path:
        port = path.port
        box = Mailbox(f"http://127.0.0.1:{port}", inbox=INBOX, token=office.token, timeout_s=1)
        agent = Agent(box, office, path)
        thread = threading.Thread(target=agent.run)
        thread.start()
        agent.until(agent.stands)
        path.path.silent = "both"
        path.reset()
        agent.until(lambda: box.figures.reconnects["unreachable"])
        assert not box.health().ok
        path.heal()
        office.send("after the outage")
        agent.until(lambda: agent.seen == ["after the outage"])
        agent.until(agent.stands)
        assert box.health().ok
        box.stop()
        thread.join(20)
        box.close()


def test_a_store_that_is_away_is_known_and_its_mail_comes_over_the_same_line(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreError("away")

    monkeypatch.setattr(hub, "STALE_S", 3)  # above the two seconds between polls
    with monkeypatch.context() as broken:
        broken.setattr(agent.office.office.post.store, "moved", away)
        agent.until(lambda: agent.box.figures.store_away)
        assert not agent.box.health().ok
        assert "its store does not" in agent.box.health().verdict
        assert agent.stands()
        asked = agent.box._asked_at
        agent.until(lambda: agent.box._asked_at > asked)  # another post office may reach the store
    agent.until(lambda: not agent.box.figures.store_away)
    agent.office.send("after the outage")
    agent.until(lambda: agent.seen == ["after the outage"])
    assert agent.box.health().ok
    assert not agent.box.figures.reconnects
