"""A stage without hosts: its senders, and how long it waits in the end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.drills import stage as stages
from restante.drills.history import Writer, read
from restante.drills.scenario import Scenario
from restante.drills.senders import Senders
from restante.drills.stage import STILL_S, Stage
from restante.errors import FoundError

# In place of load.py: it takes every mail at once.
TAKES_ALL = """
import json, sys
for line in sys.stdin:
    mail = json.loads(line)
    for what in ("sent", "accepted"):
        print(json.dumps({"at": 1.0, "side": "kit", "who": "load", "what": what, **mail}), flush=True)
"""


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "history.jsonl", {})
    yield made
    made.close()


@pytest.fixture
def senders(history: Writer) -> Iterator[Senders]:
    made = Senders([sys.executable, "-c", TAKES_ALL], history)
    yield made
    made.stop()


class Bare(Stage):
    """No hosts, no agent but the test."""

    inbox, domain, smtp, engine, posts = "agent", "drill.example", {}, "", ()

    def prepare(self, began: float) -> None: ...

    def on(self, tier: str, script: str) -> None: ...

    def units(self, command: str, role: str) -> None: ...

    def broken_for(self, *_: Any, **__: Any) -> None: ...


@pytest.fixture
def stage(history: Writer, senders: Senders, monkeypatch: pytest.MonkeyPatch) -> Bare:
    made = Bare(history, Scenario("bare", 10, "", lambda _: None, sides=("kit",)), 1, quick=True)
    made._senders = senders
    monkeypatch.setattr(stages.office, "found", lambda *_: iter(()))
    monkeypatch.setattr(stages.time, "sleep", lambda _: None)
    return made


def handle(history: Writer, n: int) -> None:
    history.add({"at": 2.0, "side": "kit", "who": "agent", "what": "handled", "n": n})


# -- the senders


def test_no_two_mails_have_one_number_however_many_threads_send(senders: Senders) -> None:
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.extend(senders.send("mail", ["agent-1"]) for _ in range(500)))
        for _ in range(4)
    ]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert sorted(numbers) == list(range(1, 2001))


def test_what_the_senders_are_given_is_what_was_numbered(senders: Senders, history: Writer) -> None:
    given = {senders.send("mail", ["agent-1", "agent-2"]): f"agent-{place}" for place in (1, 2, 1)}
    assert history.wait(20, times=len(given), what="accepted")
    history.close()
    taken = {event["n"]: event["inbox"] for event in read(Path(history._file.name)).events if event["what"] == "sent"}
    assert taken == given == {1: "agent-1", 2: "agent-2", 3: "agent-1"}


def test_senders_that_are_gone_are_a_sentence(stage: Bare, senders: Senders) -> None:
    senders._process.kill()
    senders._process.wait(20)
    with pytest.raises(FoundError, match="the senders have ended before their time"):
        stage.send()


def test_a_stream_that_ends_before_its_time_is_no_secret(stage: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def gone() -> int:
        tried.set()
        raise FoundError("the senders are gone")

    monkeypatch.setattr(stage, "send", gone)
    with pytest.raises(FoundError, match="the senders are gone"), stage.mails(1000):
        assert tried.wait(20)


# -- the end


def agent(history: Writer, handles: int) -> Callable[..., bool]:
    """In place of await_true: each wait is nearly as long as it may be, and in it the next mail is handled, until `handles` were."""
    waits: list[float] = []

    def wait(condition: Callable[[], bool], seconds: float) -> bool:
        assert seconds <= STILL_S
        waits.append(seconds)
        if len(waits) <= handles:
            handle(history, len(waits))
        return condition()

    return wait


def ends(stage: Bare, monkeypatch: pytest.MonkeyPatch, handles: int) -> set[int]:
    """Send five mails, close, and say which were handled by then."""
    for _ in range(5):
        stage.send()
    assert stage.history.wait(20, times=5, what="accepted")
    monkeypatch.setattr(stages, "await_true", agent(stage.history, handles))
    stage.close()
    assert stage.history.wait(0, who="stage", what="end")
    return stage.history.numbers("kit", "agent", "handled")


def test_a_backlog_is_awaited_for_as_long_as_it_takes(stage: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends(stage, monkeypatch, handles=5) == {1, 2, 3, 4, 5}


def test_what_does_not_move_is_given_up(stage: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ends(stage, monkeypatch, handles=3) == {1, 2, 3}


def test_a_mail_that_no_agent_can_handle_is_not_awaited(stage: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.send("poison")
    assert stage.history.wait(20, what="accepted")
    monkeypatch.setattr(stages, "await_true", lambda *_: pytest.fail("it waits"))
    stage.close()
