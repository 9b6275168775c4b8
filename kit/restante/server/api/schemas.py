"""What the API takes and gives, for validation and for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

LONGEST_LEASE_S = 43_200
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Short = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
ClientId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
LocalPart = Annotated[
    str,
    StringConstraints(pattern=r"^[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+)*$", max_length=64),
]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_LEASE_S, allow_inf_nan=False)]
Handles = Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(min_length=1, max_length=1000)]
Url = Annotated[str, StringConstraints(max_length=2000, pattern=r"^https?://[^\x00-\x20\x7f]+$")]
Scope = Literal["receive", "read", "manage"]


def _shown(content: dict[str, Any]) -> dict[str, Any]:
    """What cannot be answered is not taken: numbers above 64 bits, halves of a character, 255 levels."""
    try:
        orjson.dumps(content)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise ValueError(f"it can't be kept as JSON: {error}") from None
    return content


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Policy(Request):
    display_name: Short | None = None
    metadata: Annotated[dict[Short, Any], AfterValidator(_shown)] = Field(default_factory=dict, max_length=50)
    lease_s: Annotated[int, Field(ge=1, le=LONGEST_LEASE_S)] | None = None
    """Default lease of a receive."""
    attempts: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Attempts until a message becomes a dead letter."""
    retention_s: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] | None = None
    """How long acknowledged mail is kept; unacknowledged mail is kept for ever."""
    quota_bytes: Annotated[int, Field(ge=0, le=1 << 50)] | None = None


class InboxCreate(Policy):
    username: LocalPart | None = None
    """The local part; a random one when left out."""
    domain: Short | None = None
    """One of the server's domains; its first when left out."""
    client_id: ClientId | None = None
    """The caller's own name for it: the same again gives the same inbox."""


class InboxUpdate(Policy):
    pass


class Receive(Request):
    max_messages: Annotated[int, Field(ge=1, le=100)] = 10
    wait_seconds: Annotated[float, Field(ge=0, le=25)] = 0
    """Long-poll: how long to wait for a first message."""
    visibility_timeout: Annotated[float, Field(ge=1, le=LONGEST_LEASE_S, allow_inf_nan=False)] | None = None
    """The lease in seconds; the inbox's own when left out."""
    consumer: Name = "default"
    worker: Name | None = None
    """A worker that names itself gets its own leases back at once when it asks again."""
    reclaim: bool = True
    """False: the worker still holds what it was given, and only wants more."""
    attempt_id: Short | None = None
    """The same again gives the same batch again, while its leases last."""
    ack_batch: Annotated[str, StringConstraints(max_length=100)] | None = None
    """The `batch` of the answer that did arrive: its messages are acknowledged first."""


class Ack(Request):
    receipt_handles: Handles


class Nack(Ack):
    delay_seconds: Seconds = 0
    reason: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")] | None = None
    count_attempt: bool = True
    """False gives the attempt back: the worker stopped, it did not fail."""


class Extend(Ack):
    visibility_timeout: Annotated[float, Field(ge=0, le=LONGEST_LEASE_S, allow_inf_nan=False)] = 300


class ConsumerCreate(Request):
    name: Name
    start: Annotated[str, StringConstraints(max_length=40)] = "earliest"
    """earliest, now, or a cursor."""


class Seek(Request):
    cursor: Annotated[str, StringConstraints(max_length=40)]
    """earliest, now, or a cursor: the next message is the one after it."""


class Redrive(Request):
    ids: Annotated[list[Annotated[str, StringConstraints(max_length=40)]], Field(max_length=1000)] | None = None
    since: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    until: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class TokenCreate(Request):
    name: Short
    admin: bool = False
    scopes: dict[Annotated[str, StringConstraints(max_length=320)], list[Scope]] = Field(
        default_factory=dict, max_length=1000
    )
    """Inbox address, or "*" for all -> what may be done."""


class WebhookCreate(Request):
    url: Url
    event_types: Annotated[list[Literal["message.received"]], Field(min_length=1, max_length=10)] = ["message.received"]
    inbox_ids: Annotated[list[Annotated[str, StringConstraints(max_length=320)]], Field(max_length=1000)] = Field(
        default_factory=list
    )
    """Inbox addresses; all when empty."""
    headers: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")], Short] = Field(
        default_factory=dict, max_length=20
    )
    client_id: ClientId | None = None


class WebhookUpdate(Request):
    url: Url | None = None
    inbox_ids: Annotated[list[Annotated[str, StringConstraints(max_length=320)]], Field(max_length=1000)] | None = None
    headers: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")], Short] | None = Field(
        None, max_length=20
    )
    state: Literal["active", "paused"] | None = None


class WebhookRecover(Request):
    since: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    until: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class ErrorBody(BaseModel):
    code: str
    message: str
    request_id: str
    details: Any = None


class Error(BaseModel):
    error: ErrorBody
