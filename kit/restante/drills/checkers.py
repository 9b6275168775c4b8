"""What must hold of a run, judged from its history and nothing else. Each checker gives sentences; none means that all is well.

The guarantees are product.md's: G1 and G3 (nothing that was answered 250 is lost), G2 (no signal before the commit), G5 (bounded
blindness), G7 (nothing stops silently). The last checkers ask whether the run proves anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from restante.drills.figures import Side, sides
from restante.drills.history import History

Finding = Iterator[str]


def nothing_lost(_: History, kit: Side) -> Finding:
    if kit.lost:
        yield f"lost: {_mails(kit.lost)} answered 250 and never handled"


def repeats_are_explained(_: History, kit: Side) -> Finding:
    unexplained = sorted({event["n"] for event, explained in kit.repeats if not explained})
    if unexplained:
        yield f"unexplained duplicates: {_mails(unexplained)} handled again without a later attempt, a mark or a second sending"


def no_early_signal(_: History, kit: Side) -> Finding:
    early = sorted({event["n"] for event in kit.events if event["what"] == "unreadable"})
    if early:
        yield f"early signals: {_mails(early)} signalled, and not there to be read"
    before = sorted({e["n"] for e in kit.events if e["what"] == "signal" and e["at"] < kit.sent.get(e["n"], 0.0)})
    if before:
        yield f"early signals: {_mails(before)} signalled before anybody sent it"


def acknowledged_means_handled(_: History, kit: Side) -> Finding:
    unhandled = sorted(kit.acknowledged - kit.handled.keys())
    if unhandled:
        yield f"acknowledged and never handled: {_mails(unhandled)}"


def accepted_means_stored(_: History, kit: Side) -> Finding:
    """Only of a run whose end was seen: the store is looked at there."""
    stored = {event["n"] for event in kit.events if event["what"] in {"stored", "named"}}
    vanished = sorted(kit.accepted.keys() - stored)
    if stored and vanished:
        yield f"gone from the store, and not named: {_mails(vanished)}"


def all_is_acknowledged(_: History, kit: Side) -> Finding:
    left = sorted(kit.handled.keys() & kit.accepted.keys() - kit.acknowledged - kit.dead - kit.named)
    if left:
        yield f"handled and never acknowledged: {_mails(left)}"


def only_poison_dies(_: History, kit: Side) -> Finding:
    poison = {event["n"] for event in kit.events if event["who"] == "load" and event.get("kind") == "poison"}
    innocent = sorted(kit.dead - poison)
    if innocent:
        yield f"a dead letter without a reason: {_mails(innocent)}"


def attempts_count_up(_: History, kit: Side) -> Finding:
    """A number that comes twice is a message in two hands at once.

    A mail that was sent twice is two messages, each epoch counts anew, and a process that is told to stop gives back uncounted.
    """
    copies = {event["n"] for event in kit.events if event["who"] == "load" and event["what"] == "again"}
    seen, twice, life = set(), set(), 0
    for event in kit.events:
        life += event["what"] == "start"
        if event["what"] == "handling" and event["n"] not in copies and not event.get("repeats"):
            delivery = (event["n"], event.get("epoch"), event.get("attempt", 1), life)
            twice |= {event["n"]} if delivery in seen else set()
            seen.add(delivery)
    if twice:
        yield f"in two hands under one attempt: {_mails(sorted(twice))}"


def every_mail_is_taken(_: History, kit: Side) -> Finding:
    refused = sorted(kit.sent.keys() - kit.accepted.keys())
    if refused:
        yield f"never taken: {_mails(refused)} refused until the senders gave up"


def blindness_is_bounded(history: History, kit: Side) -> Finding:
    bound = history.header["bound_s"]
    if kit.blind is None:
        yield f"blind: the agent never knew; {bound:.0f} s were promised"
    elif kit.blind > bound:
        yield f"blind: the agent knew after {kit.blind:.1f} s; {bound:.0f} s were promised"


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
        yield f"handled, though nobody sent it: {_mails(invented)}"
    unsent = sorted(kit.accepted.keys() - kit.sent.keys())
    if unsent:
        yield f"answered 250, though nobody sent it: {_mails(unsent)}"
    faults = {event.get("fault") for event in kit.events if event["what"] == "inject"}
    for event in kit.events:
        if event["what"] == "heal" and event.get("fault") not in faults:
            yield f"healed, though never injected: {event.get('fault')}"


def the_naive_side_suffers(history: History, _: Side) -> Finding:
    naive = sides(history).get("naive")
    if naive and not naive.suffers(history.header["bound_s"]):
        yield f"proves nothing: the naive side lost no mail and knew within {history.header['bound_s']:.0f} s"


Checker = Callable[[History, Side], Finding]
CHECKERS: tuple[Checker, ...] = (
    the_run_is_whole, nothing_lost, repeats_are_explained, no_early_signal, acknowledged_means_handled, accepted_means_stored,
    all_is_acknowledged, only_poison_dies, attempts_count_up, every_mail_is_taken, blindness_is_bounded, something_was_tried,
    events_make_sense, the_naive_side_suffers,
)  # fmt: skip


def judge(history: History) -> list[str]:
    """Every sentence of every checker; of a run that is not whole, only why it is not."""
    kit = sides(history)["kit"]
    unfinished = list(the_run_is_whole(history, kit))
    return unfinished or [sentence for checker in CHECKERS for sentence in checker(history, kit)]


def _mails(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    shown = ", ".join(map(str, listed[:10])) + (", ..." if len(listed) > 10 else "")
    return f"{'mail' if len(listed) == 1 else f'{len(listed)} mails'} ({shown})"
