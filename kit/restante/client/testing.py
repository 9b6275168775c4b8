"""A post office in memory with a clock of its own, to test an agent without touching production: no network, no sleeping.

    office = FakePostOffice()
    office.deliver(subject="Invoice", text="...")
    for delivery in office.mailbox().consume():   # ends when nothing is left, now or later
        with delivery:
            answer(delivery.message)
    assert office.handled == ["Invoice"]

Leases, attempts, delays, dead letters and `worker` behave as the real one's (tests/server/test_fake.py runs the same scenarios on
both). When an agent would wait, the clock moves to the next moment at which something happens.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from restante.client.errors import RefusedError
from restante.client.mailbox import Mailbox
from restante.client.settings import Settings

EPOCH = "fa4e0000"
INBOX = "agent@example.org"


@dataclass
class _Entry:
    message: dict[str, Any]
    attempts: int = 0
    lease: int = 0
    leased: bool = False
    ready_at: float = 0.0
    first_received_at: float | None = None
    worker: str | None = None
    attempt_id: str | None = None
    state: str = "ready"  # or settled, dead
    reason: str | None = None


class FakePostOffice:
    """One inbox. `now` is its clock in Unix seconds; `attempts` is how often a message is handed out before it is a dead letter."""

    def __init__(self, inbox: str = INBOX, attempts: int = 5, now: float = 1_700_000_000) -> None:
        self.inbox, self.attempts, self.now = inbox, attempts, now
        self._entries: list[_Entry] = []
        self._leases = 0
        self._lock = threading.RLock()

    def mailbox(self, **options: Any) -> FakeMailbox:
        """A mailbox on it. `options` are those of Mailbox."""
        return FakeMailbox(self, **options)

    def deliver(self, subject: str = "", text: str = "", from_: str = "sender@example.net", **fields: Any) -> str:
        """A mail comes in; gives its id. `fields` are any others of a message."""
        with self._lock:
            seq = len(self._entries) + 1
            message = {
                "id": f"msg-{seq:06d}", "cursor": f"{EPOCH}:{seq}", "inbox_id": self.inbox, "message_id": f"<{seq}@fake>",
                "from": {"name": None, "address": from_}, "subject": subject, "text": text, "html": None, "attachments": [],
                "size": len(text), "received_at": self.now, "automated": False, "duplicate_of": None, "parse_error": None, **fields,
            }  # fmt: skip
            self._entries.append(_Entry(message))
            return str(message["id"])

    def advance(self, seconds: float) -> None:
        """Leases run out, delays end."""
        with self._lock:
            self.now += seconds

    @property
    def handled(self) -> list[str]:
        """Subjects that were acknowledged, in the order in which they came."""
        return [each.message["subject"] for each in self._entries if each.state == "settled"]

    @property
    def dead(self) -> list[tuple[str, str | None]]:
        """(subject, last reason) of dead letters."""
        return [(each.message["subject"], each.reason) for each in self._entries if each.state == "dead"]

    @property
    def waiting(self) -> list[str]:
        """Subjects that are neither acknowledged nor dead."""
        return [each.message["subject"] for each in self._entries if each.state == "ready"]

    # -- the wire, as Http.call has it

    def call(self, method: str, path: str, body: Any = None, *, wait_s: float = 0, **query: Any) -> Any:
        prefix = f"/v1/inboxes/{self.inbox}/"
        verb, _, rest = unquote(path).removeprefix(prefix).partition("/")
        with self._lock:
            if unquote(path).startswith(prefix) and (
                handler := getattr(self, f"_{method.lower()}_{verb.replace('-', '_')}", None)
            ):
                return handler(body or {}, rest, wait_s, query)
        raise RefusedError(404, "not_found", f"the fake post office has no {method} {path}")

    def _post_receive(self, body: Mapping[str, Any], _: str, wait_s: float, __: Mapping[str, Any]) -> dict[str, Any]:
        if batch := body.get("ack_batch"):
            first, last = map(int, batch.split("-"))
            for each in self._entries:
                if each.leased and first <= each.lease <= last:
                    each.state, each.leased = "settled", False
        found = self._again(body) or self._due(body)
        if not found and wait_s and (at := self._next()) is not None and at <= self.now + wait_s:
            self.now = at
            found = self._due(body)
        elif not found:
            self.now += wait_s
        leases = [each.lease for each in found]
        following = self._next()
        return {
            "batch": f"{min(leases)}-{max(leases)}" if leases else None, "items": [self._item(each) for each in found],
            "next_ready_in_s": None if found or following is None else max(0.0, following - self.now),
            "idle": not found and following is None,
        }  # fmt: skip

    def _again(self, body: Mapping[str, Any]) -> list[_Entry]:
        wanted = body.get("attempt_id")
        return [
            each
            for each in self._entries
            if wanted and each.leased and each.attempt_id == wanted and each.ready_at > self.now
        ]

    def _due(self, body: Mapping[str, Any]) -> list[_Entry]:
        worker = body.get("worker") if body.get("reclaim", True) else None
        found: list[_Entry] = []
        for each in self._entries:
            mine = worker is not None and each.leased and each.worker == worker
            if (
                each.state != "ready"
                or (each.ready_at > self.now and not mine)
                or len(found) == body.get("max_messages", 10)
            ):
                continue
            if each.attempts >= self.attempts:
                self._bury(each)
                continue
            self._leases += 1
            each.attempts, each.lease, each.leased = each.attempts + 1, self._leases, True
            each.ready_at = self.now + (body.get("visibility_timeout") or 300)
            each.first_received_at = each.first_received_at or self.now
            each.worker, each.attempt_id = body.get("worker"), body.get("attempt_id")
            found.append(each)
        return found

    def _bury(self, entry: _Entry) -> None:
        entry.state, entry.leased = "dead", False

    def _next(self) -> float | None:
        return min((each.ready_at for each in self._entries if each.state == "ready"), default=None)

    def _item(self, entry: _Entry) -> dict[str, Any]:
        handle = f"{entry.message['id']}/{entry.lease}"
        times = {"first_received_at": entry.first_received_at, "lease_expires_at": entry.ready_at}
        return {"receipt_handle": handle, "attempt": entry.attempts, "message": entry.message, **times}

    def _handles(self, body: Mapping[str, Any]) -> list[tuple[str, str, _Entry | None]]:
        """(handle, result, entry when the handle still holds)"""
        found = []
        for handle in body["receipt_handles"]:
            name, _, lease = handle.partition("/")
            entry = next((each for each in self._entries if each.message["id"] == name), None)
            holds = entry is not None and str(entry.lease) == lease and entry.state == "ready" and entry.leased
            result = "ok" if holds or (entry and entry.state == "settled") else "expired" if entry else "unknown"
            found.append((handle, result, entry if holds else None))
        return found

    def _post_ack(self, body: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        found = self._handles(body)
        for entry in (each[2] for each in found):
            if entry:
                entry.state, entry.leased = "settled", False
        return _results(found)

    def _post_nack(self, body: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        found = self._handles(body)
        for entry in (each[2] for each in found):
            if entry:
                entry.leased, entry.ready_at = False, self.now + body.get("delay_seconds", 0)
                entry.reason = body.get("reason") or entry.reason
                entry.attempts -= not body.get("count_attempt", True)
                if entry.attempts >= self.attempts:
                    self._bury(entry)
        return _results(found)

    def _post_extend(self, body: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        found = self._handles(body)
        for entry in (each[2] for each in found):
            if entry:
                entry.ready_at = self.now + body["visibility_timeout"]
        return _results(found)

    def _get_messages(self, _: Any, name: str, __: float, query: Mapping[str, Any]) -> Any:
        if name:
            found = [each.message for each in self._entries if each.message["id"] == name]
            if not found:
                raise RefusedError(404, "not_found", f"there is no message {name}")
            return found[0]
        after = int(str(query.get("cursor", f"{EPOCH}:0")).partition(":")[2])
        items = [
            each.message
            for each in self._entries[after:]
            if each.message["received_at"] >= float(query.get("since", 0))
        ]
        return {"items": items, "next_cursor": None, "head": f"{EPOCH}:{len(self._entries)}"}

    def _post_dead_letters(self, body: Mapping[str, Any], *_: Any) -> dict[str, Any]:
        chosen = [
            each
            for each in self._entries
            if each.state == "dead" and each.message["id"] in body.get("ids", [each.message["id"]])
        ]
        for each in chosen:
            each.state, each.attempts, each.ready_at = "ready", 0, self.now
        return {"redriven": len(chosen)}


def _results(found: list[tuple[str, str, _Entry | None]]) -> dict[str, Any]:
    return {"results": [{"receipt_handle": handle, "result": result} for handle, result, _ in found]}


class FakeMailbox(Mailbox):
    """`consume` ends when nothing is ready and nothing will be."""

    def __init__(self, office: FakePostOffice, **options: Any) -> None:
        self.settings = Settings("http://fake", office.inbox, "fake", **{"worker": "fake", "push": False, **options})
        self._build(None, office.call)
        self._until_idle = True
