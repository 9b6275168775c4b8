"""Whatever the wire loses, repeats or delays, whenever the process dies: every message is handled, none acknowledged unhandled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from restante.client.errors import UnavailableError
from restante.client.testing import FakeMailbox, FakePostOffice
from restante.protocol.heartbeat import Timing
from restante.protocol.liveness import Dead, Drain, Liveness, Ping

FATES = st.sampled_from(["fine", "fine", "fine", "request lost", "answer lost", "request twice", "late"])
HANDLERS = st.sampled_from(["well", "well", "well", "raises", "dies", "overtaken"])


class Wire:
    """What may happen to each request, in the order given; then all is fine."""

    def __init__(self, office: FakePostOffice, fates: list[str]) -> None:
        self._office, self._fates = office, iter(fates)

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        fate = next(self._fates, "fine")
        if fate == "request lost":
            raise UnavailableError("lost")
        if fate == "late":
            self._office.advance(70)  # longer than a lease
        answer = self._office.call(method, path, body, **more)
        if fate == "request twice":
            self._office.call(method, path, body, **more)
        if fate == "answer lost":
            raise UnavailableError("lost")
        return answer


class _DiedError(BaseException):
    """kill -9: nothing is told to anybody."""


class _Box(FakeMailbox):
    def __init__(self, office: FakePostOffice, wire: Wire) -> None:
        super().__init__(office, worker="same", max_in_flight=3, nack_delay_s=0)
        self._build(None, wire.call)

    def batches(self) -> Iterator[Any]:
        """As `consume` has them, without threads and waits; ends when nothing is left."""
        for number in range(1000):
            try:
                found, answer = self._hands.receive(self._hands.room, 100, f"{id(self)}-{number}")
            except UnavailableError:
                continue
            if answer.get("idle"):
                return
            yield from found


@settings(deadline=None, max_examples=200)
@given(st.lists(FATES, max_size=60), st.lists(HANDLERS, max_size=40))
def test_every_message_is_handled_and_none_is_acknowledged_unhandled(fates: list[str], handlers: list[str]) -> None:
    office = FakePostOffice(attempts=10_000)
    stored = {office.deliver(subject=str(number)) for number in range(12)}
    wire, ways, handled = Wire(office, fates), iter(handlers), set()
    for _ in range(200):
        box = _Box(office, wire)
        try:
            for delivery in box.batches():
                with delivery:
                    way = next(ways, "well")
                    if way == "raises":
                        raise ValueError(way)
                    if way == "dies":
                        delivery.settled = True  # nobody is left to tell
                        raise _DiedError
                    if way == "overtaken":
                        office.advance(70)
                    handled.add(delivery.message.id)
                assert _settled(office) <= handled, "acknowledged, and not handled"
            box._hands.flush()
        except (_DiedError, UnavailableError):
            continue
        if not office.waiting:
            break
    assert handled == stored
    assert office.waiting == []


def _settled(office: FakePostOffice) -> set[str]:
    return {entry.message["id"] for entry in office._entries if entry.state == "settled"}


@settings(deadline=None, max_examples=300)
@given(
    st.floats(1, 60), st.floats(0.05, 0.9), st.integers(1, 4), st.floats(0, 0.999), st.floats(0, 200),
    st.lists(st.floats(0, 0.999), max_size=80),
)  # fmt: skip
def test_silence_is_known_within_the_bound_whatever_came_before_and_whatever_else_comes(
    interval: float, pong: float, limit: int, fraction: float, cut_at: float, delays: list[float]
) -> None:
    """Pongs come in time until the cut, then never; other frames come all the time."""
    timing = Timing(interval, pong * interval, limit).clamped()
    live = Liveness(timing, 0, fraction=fraction)
    pongs: list[tuple[float, int]] = []
    waits, now = iter(delays), 0.0
    while not live.dead:
        now = min([live.deadline, *(at for at, _ in pongs)])
        while pongs and pongs[0][0] <= now:
            at, number = pongs.pop(0)
            live.pong(number, at)
        live.heard(now)
        for action in live.tick(now):
            assert not isinstance(action, Drain), "nothing slept"
            if isinstance(action, Ping) and (answered := now + next(waits, 0.0) * timing.pong_timeout_s) <= cut_at:
                pongs.append((answered, action.id))
            if isinstance(action, Dead):
                break
        assert now <= cut_at + timing.detection_s + 1e-6
