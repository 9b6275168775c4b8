"""Arrivals into inboxes: a whole batch of waiting mails in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from restante.server.store.base import Arrival, Verdict
from restante.server.store.tx import Tx

ADDRESS_LIMIT = 320


@dataclass
class _Place:
    """An inbox while a batch is put into it."""

    id: int
    head: int
    used: int
    quota: int
    added: int = 0
    seen: dict[str, int] = field(default_factory=dict)


def ingest(tx: Tx, arrivals: Sequence[Arrival], quota_bytes: int) -> tuple[list[list[Verdict]], dict[int, int]]:
    """Verdicts in the order of arrivals and their recipients, and the new head of each inbox that grew.

    `quota_bytes` is for inboxes that have none of their own. The same mail to one inbox under two recipients is one message.
    """
    places = _places(tx, arrivals, quota_bytes)
    known = _known(tx, arrivals)
    _repeats(tx, arrivals, places)
    bodies, messages, hops = [], [], []
    numbers: Iterator[int] = iter([row[0] for row in tx.all("next_bodies", count=len(arrivals))])
    verdicts = []
    for arrival in arrivals:
        body_id = next(numbers)
        found, into = [], []
        for recipient in arrival.recipients:
            place = places.get(canonical(recipient))
            verdict = _judge(arrival, place, known)
            found.append(verdict)
            if verdict is Verdict.stored and place:
                if arrival.hop:
                    known.add((arrival.hop, place.id))
                    hops.append({"identity": arrival.hop, "inbox_id": place.id, "at": tx.now})
                into.append((place, recipient))
        unique = {place.id: (place, recipient) for place, recipient in into}
        messages += [_message(tx, arrival, body_id, *where) for where in unique.values()]
        if unique:
            bodies.append({"id": body_id, "raw": arrival.raw})
        verdicts.append(found)
    tx.many("insert_bodies", bodies)
    tx.many("insert_messages", messages)
    tx.many("insert_hops", hops)
    grown = [place for place in places.values() if place.added]
    tx.many("update_positions", [{"inbox_id": p.id, "head": p.head, "bytes": p.added} for p in grown])
    return verdicts, {place.id: place.head for place in grown}


def canonical(address: str) -> str:
    """The form under which an inbox is known: addresses are compared without regard to case."""
    return address.strip().lower()[:ADDRESS_LIMIT]


def _places(tx: Tx, arrivals: Sequence[Arrival], quota_bytes: int) -> dict[str, _Place]:
    wanted = sorted({canonical(recipient) for arrival in arrivals for recipient in arrival.recipients})
    rows = tx.all("inboxes_for_arrivals", addresses=wanted)
    return {
        address: _Place(inbox_id, head, used, quota_bytes if quota is None else quota)
        for inbox_id, address, head, used, quota in rows
    }


def _known(tx: Tx, arrivals: Sequence[Arrival]) -> set[tuple[str, int]]:
    identities = sorted({arrival.hop for arrival in arrivals if arrival.hop})
    return (
        {(identity, inbox) for identity, inbox in tx.all("hops_known", identities=identities)} if identities else set()
    )


def _repeats(tx: Tx, arrivals: Sequence[Arrival], places: dict[str, _Place]) -> None:
    pairs = {
        (place.id, arrival.scan.fingerprint.hex())
        for arrival in arrivals if arrival.scan.fingerprint
        for recipient in arrival.recipients if (place := places.get(canonical(recipient)))
    }  # fmt: skip
    if not pairs:
        return
    inboxes, fingerprints = zip(*sorted(pairs), strict=True)
    by_id = {place.id: place for place in places.values()}
    for inbox_id, fingerprint, seq in tx.all("repeats", inbox_ids=list(inboxes), fingerprints=list(fingerprints)):
        by_id[inbox_id].seen[fingerprint] = seq


def _judge(arrival: Arrival, place: _Place | None, known: set[tuple[str, int]]) -> Verdict:
    if place is None:
        return Verdict.unknown_inbox
    if arrival.hop and (arrival.hop, place.id) in known:
        return Verdict.repeated
    if place.used + place.added + len(arrival.raw) > place.quota:
        return Verdict.over_quota
    return Verdict.stored


def _message(tx: Tx, arrival: Arrival, body_id: int, place: _Place, recipient: str) -> dict[str, Any]:
    place.head += 1
    place.added += len(arrival.raw)
    scan, fingerprint = arrival.scan, arrival.scan.fingerprint.hex()
    first = place.seen.setdefault(fingerprint, place.head) if fingerprint else place.head
    return {
        "inbox_id": place.id, "seq": place.head, "body_id": body_id, "size": len(arrival.raw), "received_at": tx.now,
        "envelope_from": arrival.envelope_from, "delivered_to": recipient, "message_id": scan.message_id,
        "subject": scan.subject, "sender": scan.sender, "automated": scan.automated, "fingerprint": fingerprint,
        "duplicate_of": None if first == place.head else first,
    }  # fmt: skip
