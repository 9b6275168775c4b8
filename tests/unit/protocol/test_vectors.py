"""The situations of tests/vectors/liveness.json, which a client in another language can run too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from restante.protocol.backoff import Backoff
from restante.protocol.codes import verdict
from restante.protocol.heartbeat import Timing
from restante.protocol.ladder import Ladder, Rung
from restante.protocol.liveness import Action, Liveness, Ping

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "liveness.json").read_text()
)


def cases(kind: str) -> Any:
    return pytest.mark.parametrize("case", VECTORS[kind], ids=lambda case: str(case.get("name", case.get("code"))))


def word(action: Action) -> str:
    return f"ping {action.id}" if isinstance(action, Ping) else type(action).__name__.lower()


@cases("liveness")
def test_a_connection(case: dict[str, Any]) -> None:
    interval, pong, misses = case.get("timing", (15, 5, 2))
    live = Liveness(
        Timing(interval, pong, misses).clamped(), 0, fraction=case.get("fraction", 0), max_age_s=case.get("max_age", 0),
        asks=case.get("asks", True),
    )  # fmt: skip
    for at, event, *expected in case["steps"]:
        verb, _, number = event.partition(" ")
        if verb == "pong":
            live.pong(int(number), at)
        elif verb in {"beat", "frame"}:
            (live.beat if verb == "beat" else live.heard)(at)
        else:
            done = ", ".join(map(word, (live.tick if verb == "tick" else live.drained)(at)))
            assert done == (expected[0] if expected else ""), f"at {at} s"
        assert live.dead or live.deadline > at - 1e-9 or verb not in {"tick", "drained"} or "drain" in expected
    assert (live.misses, live.dead) == (case.get("misses", live.misses), case.get("dead", False))
    for name, found in (("rtt", live.rtt_s), ("lag", live.lag_s), ("heard", live.heard_at)):
        if name in case:
            assert found == pytest.approx(case[name])


@cases("backoff")
def test_delays(case: dict[str, Any]) -> None:
    backoff = Backoff(lambda: float(case["jitter"]))
    assert [backoff.delay_s(case.get("spread", 0)) for _ in case["delays"]] == pytest.approx(case["delays"])
    if "lived" in case:
        backoff.lived(case["lived"])
        assert [backoff.delay_s() for _ in case["then"]] == pytest.approx(case["then"])


@cases("ladder")
def test_the_ladder(case: dict[str, Any]) -> None:
    ladder = Ladder(lambda: 0.0)
    for at, event, *expected in case["steps"]:
        verb, *words = event.split()
        rung = Rung[words[0]] if words else None
        if verb == "choose":
            assert ladder.choose(at).name == expected[0], f"at {at} s"
        elif verb in {"refused", "held"}:
            getattr(ladder, verb)(rung, at)
        else:
            ladder.ended(rung, float(words[1]), at, http_works=verb == "ended")


@cases("closes")
def test_a_close_code(case: dict[str, Any]) -> None:
    assert verdict(case["code"]).name == case["verdict"]


def test_there_are_as_many_situations_as_promised() -> None:
    assert len(VECTORS["liveness"]) + len(VECTORS["ladder"]) + len(VECTORS["backoff"]) >= 60
