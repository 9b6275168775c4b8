"""Whether a run proves anything: it was played to its end, something was broken, and those who should have suffered did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from restante.drills.figures import Side, sides
from restante.drills.history import History

Finding = Iterator[str]


def the_run_is_whole(history: History, _: Side) -> Finding:
    said = {event["what"]: event for event in history.events if event["who"] == "stage"}
    if failed := said.get("failed"):
        yield f"not played: {failed.get('why', 'no reason was given')}"
    elif "play" not in said or "end" not in said:
        yield "cut short: the history has no beginning or no end"


def something_was_tried(history: History, kit: Side) -> Finding:
    injected = [event for event in history.events if event["what"] == "inject"]
    if not injected:
        yield "proves nothing: no fault was injected"
    elif not any(at >= injected[0]["at"] for at in kit.accepted.values()):
        yield "proves nothing: no mail was taken after the first fault"


def events_make_sense(_: History, kit: Side) -> Finding:
    invented = sorted(kit.handled.keys() - kit.sent.keys())
    if invented:
        yield f"handled, though nobody sent it: {mails(invented)}"
    unsent = sorted(kit.accepted.keys() - kit.sent.keys())
    if unsent:
        yield f"answered 250, though nobody sent it: {mails(unsent)}"
    faults = {event.get("fault") for event in kit.events if event["what"] == "inject"}
    for event in kit.events:
        if event["what"] == "heal" and event.get("fault") not in faults:
            yield f"healed, though never injected: {event.get('fault')}"


def the_naive_side_suffers(history: History, _: Side) -> Finding:
    naive = sides(history).get("naive")
    if naive and not naive.suffers(history.header["bound_s"]):
        yield f"proves nothing: the naive side lost no mail and knew within {history.header['bound_s']:.0f} s"


def mails(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    shown = ", ".join(map(str, listed[:10])) + (", ..." if len(listed) > 10 else "")
    return f"{'mail' if len(listed) == 1 else f'{len(listed)} mails'} ({shown})"
