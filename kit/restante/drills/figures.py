"""The numbers of one side of one run, from its history alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from restante.drills.history import Event, History

LATE_S = 2.0  # a mail that waits longer was held up by something
CONNECTED = ("up", "back")  # an agent's own words for a connection that can tell of mail
KNOWS = ("down", "start", "away")  # and for having none


@dataclass(frozen=True)
class Side:
    """What one stack saw. Times are those of the history; a mail is its number."""

    events: tuple[Event, ...]
    end: float

    def _first(self, who: str, what: str) -> dict[int, float]:
        found: dict[int, float] = {}
        for event in self._each(who, what):
            found.setdefault(event["n"], event["at"])
        return found

    def _each(self, who: str, *what: str) -> list[Event]:
        return [event for event in self.events if event["who"] == who and event["what"] in what]

    @cached_property
    def sent(self) -> dict[int, float]:
        return self._first("load", "sent")

    @cached_property
    def accepted(self) -> dict[int, float]:
        return self._first("load", "accepted")

    @cached_property
    def handled(self) -> dict[int, float]:
        return self._first("agent", "handled")

    @cached_property
    def inbox(self) -> dict[int, str]:
        return {event["n"]: event.get("inbox", "") for event in self._each("load", "sent")}

    @cached_property
    def acknowledged(self) -> frozenset[int]:
        return frozenset(self._first("office", "acknowledged"))

    @cached_property
    def dead(self) -> frozenset[int]:
        """Dead letters, which a person can see and send round again."""
        return frozenset(self._first("office", "dead"))

    @cached_property
    def named(self) -> frozenset[int]:
        """Gone from the store, and said to be, some after they were handled."""
        return frozenset(self._first("office", "named"))

    @cached_property
    def lost(self) -> tuple[int, ...]:
        """Answered 250, never handled, and nobody says so."""
        return tuple(sorted(self.accepted.keys() - self.handled.keys() - self.dead - self.named))

    @cached_property
    def repeats(self) -> tuple[tuple[Event, bool], ...]:
        """Every handling after a mail's first, and whether something explains it.

        A later attempt, a repeat that the post office marks, a sender that had no answer and sent again, or another epoch: a store
        that was restored does not know what was acknowledged since its backup.
        """
        again = {event["n"] for event in self._each("load", "again")}
        first: dict[int, Event] = {}
        found = []
        for event in self._each("agent", "handled"):
            if event["n"] in first:
                later = event.get("attempt", 1) > 1 or event.get("epoch") != first[event["n"]].get("epoch")
                found.append((event, later or bool(event.get("repeats")) or event["n"] in again))
            first.setdefault(event["n"], event)
        return tuple(found)

    @cached_property
    def held_up(self) -> dict[int, float]:
        """Mails that waited too long, or wait still: when each was handled, for ever later when never."""
        never = float("inf")
        waits = {n: self.handled.get(n, never) for n in self.accepted if n not in self.dead}
        return {n: done for n, done in waits.items() if done - self.accepted[n] > LATE_S}

    @cached_property
    def blind(self) -> float | None:
        """Seconds from a fault to knowing, at worst; 0 when no mail was held up, None when it was never known.

        An agent knows when it says that it has no connection or that the store is away, when its process begins anew, when a mail
        that was held up comes, or, on a connection that holds, when a signal tells of one.
        """
        injected = [event["at"] for event in self._each("nemesis", "inject")]
        worst = 0.0
        for begun, following in zip(injected, [*injected[1:], self.end], strict=False):
            for inbox in set(self.inbox.values()):
                known = self._known(inbox, begun, following)
                if known is None:
                    return None
                worst = max(worst, known - begun)
        return worst

    def _known(self, inbox: str, begun: float, following: float) -> float | None:
        """When the agent of an inbox knew of a fault; the fault's own time when it cost nothing."""
        waiting = {n for n in self.held_up if begun <= self.accepted[n] < following and self.inbox.get(n) == inbox}
        if not waiting or not self._connected(inbox, begun):
            return begun
        came = min(self.held_up[n] for n in waiting)
        words = [e["at"] for e in self._each("agent", *KNOWS) if e["at"] >= begun and e.get("inbox") == inbox]
        told = [e["at"] for e in self._each("agent", "signal") if e["n"] in waiting]
        # A signal on a connection that dies before its mail can be had is knowledge of the mail, and none of the fault.
        known = min([came, *words, *([] if any(word <= came for word in words) else told)])
        return None if known == float("inf") else known

    def _connected(self, inbox: str, at: float) -> bool:
        """Whether the agent believed so then."""
        words = [e["what"] for e in self._each("agent", *CONNECTED, *KNOWS) if e["at"] < at and e.get("inbox") == inbox]
        return bool(words) and words[-1] in CONNECTED

    @cached_property
    def catch_up(self) -> float | None:
        """Seconds from the heal, or from its own 250 when that was later, until the last mail was handled; None when one never was.

        What came while the fault was being taken away is counted from where that began.
        """
        if self.lost:
            return None
        heals: list[float] = [event["at"] for event in self._each("nemesis", "healing", "heal")]
        late = [
            done - max([self.accepted[n], *(at for at in heals if at <= done)])
            for n, done in self.handled.items()
            if n in self.accepted
        ]
        return max([0.0, *late])

    @cached_property
    def largest_gap(self) -> float | None:
        """The longest that a mail waited which was handled in the end."""
        waits = [done - self.accepted[n] for n, done in self.handled.items() if n in self.accepted]
        return max(waits, default=None)

    @cached_property
    def epochs(self) -> tuple[frozenset[str], frozenset[str]]:
        """Of the mails that were handled before the first fault, and after the last heal."""
        begun = next((event["at"] for event in self._each("nemesis", "inject")), self.end)
        healed = max((event["at"] for event in self._each("nemesis", "heal")), default=self.end)
        known = [event for event in self._each("agent", "handled") if event.get("epoch")]
        before = frozenset(event["epoch"] for event in known if event["at"] < begun)
        return before, frozenset(event["epoch"] for event in known if event["at"] > healed)

    @cached_property
    def reconnects(self) -> int:
        return len(self._each("agent", "up")) - len({event.get("inbox") for event in self._each("agent", "up")})

    def suffers(self, bound_s: float) -> bool:
        return bool(self.lost) or self.blind is None or self.blind > bound_s

    def summary(self) -> dict[str, Any]:
        """As `restante drill run --json` has it. `blind_s` of one that never knew is the time until the end, `blind_to_the_end` says so."""
        explained = sum(reason for _, reason in self.repeats)
        begun = next((event["at"] for event in self._each("nemesis", "inject")), self.end)
        return {
            "sent": len(self.sent), "accepted": len(self.accepted), "delivered": len(self.handled.keys() & self.accepted.keys()),
            "acknowledged": len(self.acknowledged), "dead": len(self.dead),
            "named": len(self.named - self.handled.keys()), "lost": len(self.lost),
            "duplicates_explained": explained, "duplicates_unexplained": len(self.repeats) - explained,
            "blind_s": _rounded(self.end - begun if self.blind is None else self.blind), "blind_to_the_end": self.blind is None,
            "catch_up_s": _rounded(self.catch_up), "reconnects": self.reconnects, "largest_gap_s": _rounded(self.largest_gap),
        }  # fmt: skip


def sides(history: History) -> dict[str, Side]:
    """Each side that took part."""
    end = max((event["at"] for event in history.events), default=0.0)
    return {side: Side(history.of(side), end) for side in history.header["sides"]}


def median(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several runs of one scenario: figure by figure, the lower of the two in the middle; None counts as more than any number."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for summary in summaries:
        for key, value in summary.items():
            columns[key].append(value)
    return {
        key: sorted(values, key=lambda value: (value is None, value or 0))[(len(values) - 1) // 2]
        for key, values in columns.items()
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
