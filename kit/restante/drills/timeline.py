"""One run as a picture: what arrived, what was handled, who knew what, and the faults, over time. Geometry only; colours are the page's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from restante.drills.figures import CONNECTED, KNOWS, Side, sides
from restante.drills.history import History

WIDTH, LEFT, RIGHT = 960, 96, 12
LANE, TOP, AXIS = 74, 26, 24  # heights: of one side's lane, of the faults' names, of the axis
ROWS = {"accepted": 14, "handled": 32, "connection": 52}  # within a lane
STEPS = (5, 10, 15, 30, 60, 120, 300, 600)  # seconds between marks of the axis
MARKS = 14  # at most, on the axis


@dataclass(frozen=True)
class Span:
    """A stretch of time: where it is drawn, and what it is called."""

    x: float
    width: float
    label: str


@dataclass(frozen=True)
class Lane:
    """Paths of SVG; `lost` are crosses where the mail was answered 250, `believed` is the connection as its agent sees it."""

    name: str
    y: float
    accepted: str
    handled: str
    lost: str
    signals: str
    believed: str


@dataclass(frozen=True)
class Picture:
    width: int
    height: int
    lanes: tuple[Lane, ...]
    faults: tuple[Span, ...]
    axis: tuple[Span, ...]


class Scale:
    """Seconds of the run -> x."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, max(end, begin + 1)

    def x(self, at: float) -> float:
        share = (min(max(at, self.begin), self.end) - self.begin) / (self.end - self.begin)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def draw(history: History) -> Picture:
    begin = next(
        (event["at"] for event in history.events if event["what"] == "play"),
        history.events[0]["at"] if history.events else 0.0,
    )
    end = max((event["at"] for event in history.events), default=begin)
    scale, found = Scale(begin, end), sides(history)
    lanes = tuple(_lane(name, side, scale, TOP + LANE * place) for place, (name, side) in enumerate(found.items()))
    height = TOP + LANE * len(lanes) + AXIS
    return Picture(WIDTH, height, lanes, _faults(history, scale), _axis(scale))


def _lane(name: str, side: Side, scale: Scale, y: float) -> Lane:
    signals = [event["at"] for event in side.events if event["what"] == "signal"]
    lost = [side.accepted[n] for n in side.lost]
    return Lane(
        name, y,
        accepted=_ticks(side.accepted.values(), scale, y + ROWS["accepted"], 10),
        handled=_ticks(side.handled.values(), scale, y + ROWS["handled"], 10),
        lost=_crosses(lost, scale, y + ROWS["handled"] + 5),
        signals=_ticks(signals, scale, y + ROWS["connection"] + 8, 5),
        believed=_believed(side, scale, y + ROWS["connection"]),
    )  # fmt: skip


def _ticks(times: Iterable[float], scale: Scale, y: float, height: int) -> str:
    return "".join(f"M{x} {y}v{height}" for x in sorted({scale.x(at) for at in times}))


def _crosses(times: Iterable[float], scale: Scale, y: float) -> str:
    return "".join(f"M{x - 3:.1f} {y - 3}l6 6m0-6l-6 6" for x in sorted({scale.x(at) for at in times}))


def _believed(side: Side, scale: Scale, y: float) -> str:
    """A line for as long as an agent believes itself connected; of many agents, the first."""
    words = [event for event in side.events if event["who"] == "agent" and event["what"] in {*CONNECTED, *KNOWS}]
    inbox = words[0].get("inbox") if words else None
    parts, since = [], None
    for event in (*(word for word in words if word.get("inbox") == inbox), {"what": "down", "at": scale.end}):
        if event["what"] in CONNECTED and since is None:
            since = event["at"]
        elif event["what"] in KNOWS and since is not None:
            parts.append(f"M{scale.x(since)} {y}H{scale.x(event['at'])}")
            since = None
    return "".join(parts)


def _faults(history: History, scale: Scale) -> tuple[Span, ...]:
    """From inject to heal; one that nothing heals is a moment."""
    spans = []
    heals = [event for event in history.events if event["what"] == "heal"]
    for event in history.events:
        if event["what"] == "inject":
            healed = next(
                (h["at"] for h in heals if h["at"] > event["at"] and h.get("fault") == event.get("fault")), event["at"]
            )
            x = scale.x(event["at"])
            spans.append(Span(x, max(scale.x(healed) - x, 2), str(event.get("fault", ""))))
    return tuple(spans)


def _axis(scale: Scale) -> tuple[Span, ...]:
    length = scale.end - scale.begin
    step = next((step for step in STEPS if length / step <= MARKS), STEPS[-1])
    return tuple(Span(scale.x(scale.begin + second), 0, f"{second} s") for second in range(0, int(length) + 1, step))
