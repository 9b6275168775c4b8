"""Arrivals into inboxes: a whole batch of waiting mails in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from restante.server.store.base import Arrival, Summary, Verdict
from restante.server.store.tx import Row, Tx

ADDRESS_LIMIT = 320
SUMMARY = tuple(each.name for each in fields(Summary) if each.default is MISSING)


@dataclass
class _Place:
    """An inbox while a batch is put into it."""

    id: int
    head: int
    used: int
    quota: int
    added: int = 0
    seen: dict[str, int] = field(default_factory=dict)


def ingest(tx: Tx, arrivals: Sequence[Arrival], quota_bytes: int) -> tuple[list[list[Verdict]], list[Summary]]:
    """Verdicts in the order of arrivals and their recipients, and what was stored, ascending in each inbox.

    `quota_bytes` is for inboxes that have none of their own. The same mail to one inbox under two recipients is one message.
    """
    inboxes = tx.ask("inboxes_for_arrivals", addresses=_addresses(arrivals))  # locked: what is asked next, holds
    hops_known = tx.ask("hops_known", identities=sorted({arrival.hop for arrival in arrivals if arrival.hop}))
    repeats = tx.ask("repeats", **_fingerprints(arrivals))
    next_bodies = tx.ask("next_bodies", count=len(arrivals))
    places = _places(inboxes(), repeats(), quota_bytes)
    known = {(identity, inbox) for identity, inbox in hops_known()}
    numbers = [row[0] for row in next_bodies()]

    rows = _Rows()
    verdicts = [
        rows.add(tx.now, arrival, number, places, known) for arrival, number in zip(arrivals, numbers, strict=True)
    ]
    tx.many("insert_bodies", rows.bodies)
    tx.many("insert_messages", rows.messages)
    tx.many("insert_hops", rows.hops)
    grown = [place for place in places.values() if place.added]
    tx.many("update_positions", [{"inbox_id": p.id, "head": p.head, "bytes": p.added} for p in grown])
    return verdicts, [Summary(**{name: row[name] for name in SUMMARY}) for row in rows.messages]


@dataclass
class _Rows:
    """What a batch puts into the store."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    hops: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, now: float, arrival: Arrival, body_id: int, places: dict[str, _Place], known: set[tuple[str, int]]
    ) -> list[Verdict]:
        verdicts, into = [], {}
        for recipient in arrival.recipients:
            place = places.get(canonical(recipient))
            verdict = _judge(arrival, place, known)
            verdicts.append(verdict)
            if verdict is Verdict.stored and place:
                into[place.id] = place, recipient
                if arrival.hop:
                    known.add((arrival.hop, place.id))
                    self.hops.append({"identity": arrival.hop, "inbox_id": place.id, "at": now})
        self.messages += [_message(now, arrival, body_id, *where) for where in into.values()]
        if into:
            self.bodies.append({"id": body_id, "raw": arrival.raw})
        return verdicts


def canonical(address: str) -> str:
    """The form under which an inbox is known: addresses are compared without regard to case."""
    return address.strip().lower()[:ADDRESS_LIMIT]


def _addresses(arrivals: Sequence[Arrival]) -> list[str]:
    return sorted({canonical(recipient) for arrival in arrivals for recipient in arrival.recipients})


def _fingerprints(arrivals: Sequence[Arrival]) -> dict[str, list[str]]:
    """Which mail may have come to which address before."""
    pairs = sorted(
        {
            (canonical(recipient), arrival.scan.fingerprint.hex())
            for arrival in arrivals if arrival.scan.fingerprint for recipient in arrival.recipients
        }
    )  # fmt: skip
    return {"addresses": [pair[0] for pair in pairs], "fingerprints": [pair[1] for pair in pairs]}


def _places(inboxes: list[Row], repeats: list[Row], quota_bytes: int) -> dict[str, _Place]:
    places = {
        address: _Place(inbox_id, head, used, quota_bytes if quota is None else quota)
        for inbox_id, address, head, used, quota in inboxes
    }
    for address, fingerprint, seq in repeats:
        places[address].seen[fingerprint] = seq
    return places


def _judge(arrival: Arrival, place: _Place | None, known: set[tuple[str, int]]) -> Verdict:
    if place is None:
        return Verdict.unknown_inbox
    if arrival.hop and (arrival.hop, place.id) in known:
        return Verdict.repeated
    if place.used + place.added + len(arrival.raw) > place.quota:
        return Verdict.over_quota
    return Verdict.stored


def _message(now: float, arrival: Arrival, body_id: int, place: _Place, recipient: str) -> dict[str, Any]:
    place.head += 1
    place.added += len(arrival.raw)
    scan, fingerprint = arrival.scan, arrival.scan.fingerprint.hex()
    first = place.seen.setdefault(fingerprint, place.head) if fingerprint else place.head
    return {
        "inbox_id": place.id, "seq": place.head, "body_id": body_id, "size": len(arrival.raw), "received_at": now,
        "envelope_from": arrival.envelope_from, "delivered_to": recipient, "message_id": scan.message_id,
        "subject": scan.subject, "sender": scan.sender, "automated": scan.automated, "fingerprint": fingerprint,
        "duplicate_of": None if first == place.head else first,
    }  # fmt: skip
