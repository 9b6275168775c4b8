"""What the post office asks of a store, in the store's own words. No engine is known here.

Position: each inbox counts its messages from 1, in commit order, without holes; `head` is the last number. A consumer has a
`frontier`, the last number it was handed, and one row for each message at or below it that is not settled. A message at or
below the frontier without a row is settled: acknowledged, or dead. So the cost follows what is in flight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from restante.errors import RestanteError

DEFAULT_CONSUMER = "default"


class StoreError(RestanteError):
    """The store could not do it now; the same request may work later. Nothing of it was done, or its hop is known again."""


class NotFoundError(RestanteError):
    """There is no such inbox, consumer, message, token or webhook."""


class ConflictError(RestanteError):
    """It is there already, or in the way."""


class TooOldError(RestanteError):
    """A cursor below what is kept. `oldest` is the first number that is still there."""

    def __init__(self, oldest: int) -> None:
        self.oldest = oldest
        super().__init__(f"this cursor is older than what is kept; the oldest message is {oldest}")


class Verdict(StrEnum):
    """What became of one recipient of an arrival."""

    stored = "stored"
    repeated = "repeated"  # the same hop identity again: the first commit holds, its 250 was lost
    unknown_inbox = "unknown_inbox"
    over_quota = "over_quota"
    no_space = "no_space"
    unavailable = "unavailable"


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """Room where the store is, in bytes, and how old that knowledge is, in seconds."""

    bytes: int
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scan:
    """What ingestion reads of a mail: enough for a signal, a listing and the mark of a repeat. The rest is read when asked for.

    `fingerprint` is of Message-ID and content without trace headers, b"" without a Message-ID. `automated` after RFC 3834.
    """

    message_id: str
    subject: str
    sender: str
    automated: bool
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """One mail from the MTA. `hop` is MTA host and long queue id; None: stored, never guessed about."""

    raw: bytes
    envelope_from: str
    recipients: tuple[str, ...]
    hop: str | None
    scan: Scan


@dataclass(frozen=True, slots=True)
class Inbox:
    """`address` is its name. Times are Unix seconds, sizes bytes; None in a policy field means the server's own default."""

    id: int
    address: str
    display_name: str | None
    client_id: str | None
    metadata: Mapping[str, Any]
    epoch: str
    head: int
    oldest: int
    used_bytes: int
    lease_s: int | None
    attempts: int | None
    retention_s: int | None
    quota_bytes: int | None
    created_at: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One message as a listing and a signal show it; its body is read apart.

    `duplicate_of` is the number of the first of its repeats, `duplicate_at` when that one came, as far as it is kept.
    """

    inbox_id: int
    seq: int
    body_id: int
    size: int
    received_at: float
    envelope_from: str
    delivered_to: str
    message_id: str
    subject: str
    sender: str
    automated: bool
    duplicate_of: int | None
    duplicate_at: float | None = field(default=None, compare=False)  # a signal shows none, and is made without it


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in somebody's hands. `lease` is never given twice by a consumer."""

    summary: Summary
    lease: int
    attempt: int
    first_received_at: float
    lease_expires_at: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What one receive brings, and where the consumer stands. `next_ready_at`: when the first of its waiting ones comes back."""

    consumer_id: int
    deliveries: Sequence[Delivery]
    frontier: int
    head: int
    remaining: int
    dead: int = 0
    next_ready_at: float | None = None


@dataclass(frozen=True, slots=True)
class Receive:
    """A request for deliveries. `acknowledge` names a batch that did arrive: its consumer, its first and its last lease."""

    consumer: str = DEFAULT_CONSUMER
    max_messages: int = 10
    lease_s: float = 300
    attempts: int = 5
    worker: str | None = None
    reclaim: bool = True
    attempt_id: str | None = None
    acknowledge: tuple[int, int, int] | None = None


class HandleResult(StrEnum):
    """What became of one receipt handle."""

    ok = "ok"
    expired = "expired"
    unknown = "unknown"


@dataclass(frozen=True, slots=True)
class Handle:
    """A receipt: which consumer was given which message under which lease."""

    consumer_id: int
    seq: int
    lease: int


@dataclass(frozen=True, slots=True)
class Consumer:
    id: int
    name: str
    frontier: int
    floor: int
    in_flight: int
    ready: int
    dead: int
    oldest_unacknowledged_at: float | None
    last_receive_at: float | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    summary: Summary
    consumer: str
    attempts: int
    last_error: str | None
    reason: str
    died_at: float


@dataclass(frozen=True, slots=True)
class Token:
    """Who may do what. `scopes` maps an inbox address, or "*", to receive, read and manage; admin: everything."""

    id: str
    name: str
    digest: bytes
    admin: bool
    scopes: Mapping[str, Sequence[str]]
    created_at: float
    last_used_at: float | None = None
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class InboxDraft:
    """An inbox to be: what its creator says about it."""

    address: str
    display_name: str | None = None
    client_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lease_s: int | None = None
    attempts: int | None = None
    retention_s: int | None = None
    quota_bytes: int | None = None
