"""What must hold of a run, judged from its history and nothing else. Each checker gives sentences; none means that all is well.

The guarantees are product.md's: G1 and G3 (nothing that was answered 250 is lost), G2 (no signal before the commit), G4 (no gap in
silence), G5 (bounded blindness), G7 (nothing stops silently). Whether the run proves anything is asked by proof.py.
"""

from __future__ import annotations

from collections.abc import Callable

from restante.drills.figures import Side, sides
from restante.drills.history import History
from restante.drills.proof import (
    Finding,
    events_make_sense,
    mails,
    something_was_tried,
    the_naive_side_suffers,
    the_run_is_whole,
)


def nothing_lost(_: History, kit: Side) -> Finding:
    if kit.lost:
        yield f"lost: {mails(kit.lost)} answered 250 and never handled"


def repeats_are_explained(_: History, kit: Side) -> Finding:
    unexplained = sorted({event["n"] for event, explained in kit.repeats if not explained})
    if unexplained:
        yield f"unexplained duplicates: {mails(unexplained)} handled again without a later attempt, a mark or a second sending"


def no_early_signal(_: History, kit: Side) -> Finding:
    early = sorted({event["n"] for event in kit.events if event["what"] == "unreadable"})
    if early:
        yield f"early signals: {mails(early)} signalled, and not there to be read"
    before = sorted({e["n"] for e in kit.events if e["what"] == "signal" and e["at"] < kit.sent.get(e["n"], 0.0)})
    if before:
        yield f"early signals: {mails(before)} signalled before anybody sent it"


def acknowledged_means_handled(_: History, kit: Side) -> Finding:
    unhandled = sorted(kit.acknowledged - kit.handled.keys())
    if unhandled:
        yield f"acknowledged and never handled: {mails(unhandled)}"


def accepted_means_stored(_: History, kit: Side) -> Finding:
    """Only of a run whose end was seen: the store is looked at there."""
    stored = {event["n"] for event in kit.events if event["what"] in {"stored", "named"}}
    vanished = sorted(kit.accepted.keys() - stored)
    if stored and vanished:
        yield f"gone from the store, and not named: {mails(vanished)}"


def all_is_acknowledged(_: History, kit: Side) -> Finding:
    left = sorted(kit.handled.keys() & kit.accepted.keys() - kit.acknowledged - kit.dead - kit.named)
    if left:
        yield f"handled and never acknowledged: {mails(left)}"


def only_poison_dies(_: History, kit: Side) -> Finding:
    poison = {event["n"] for event in kit.events if event["who"] == "load" and event.get("kind") == "poison"}
    innocent = sorted(kit.dead - poison)
    if innocent:
        yield f"a dead letter without a reason: {mails(innocent)}"


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
        yield f"in two hands under one attempt: {mails(sorted(twice))}"


def every_mail_is_taken(_: History, kit: Side) -> Finding:
    refused = sorted(kit.sent.keys() - kit.accepted.keys())
    if refused:
        yield f"never taken: {mails(refused)} refused until the senders gave up"


def blindness_is_bounded(history: History, kit: Side) -> Finding:
    bound = history.header["bound_s"]
    if kit.blind is None:
        yield f"blind: the agent never knew; {bound:.0f} s were promised"
    elif kit.blind > bound:
        yield f"blind: the agent knew after {kit.blind:.1f} s; {bound:.0f} s were promised"


def a_restore_changes_the_epoch(history: History, kit: Side) -> Finding:
    """A position from before the restore means nothing after it, and must be refused as one (410) rather than skip what is new."""
    if not history.header.get("restores"):
        return
    before, after = kit.epochs
    if not before or not after:
        yield f"proves nothing: no mail was handled {'after' if before else 'before'} the store was restored"
    elif kept := before & after:
        yield f"a silent gap: the epoch {', '.join(sorted(kept))} is from before the restore, and positions of then go on to be taken"


Checker = Callable[[History, Side], Finding]
CHECKERS: tuple[Checker, ...] = (
    the_run_is_whole, nothing_lost, repeats_are_explained, no_early_signal, acknowledged_means_handled, accepted_means_stored,
    all_is_acknowledged, only_poison_dies, attempts_count_up, every_mail_is_taken, blindness_is_bounded, a_restore_changes_the_epoch,
    something_was_tried, events_make_sense, the_naive_side_suffers,
)  # fmt: skip


def judge(history: History) -> list[str]:
    """Every sentence of every checker; of a run that is not whole, only why it is not."""
    kit = sides(history)["kit"]
    unfinished = list(the_run_is_whole(history, kit))
    return unfinished or [sentence for checker in CHECKERS for sentence in checker(history, kit)]
