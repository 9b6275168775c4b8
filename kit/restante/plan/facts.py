"""What the plan must know from outside the spec. It comes in as data, so that the same spec and facts give the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Certificate:
    """The leaf of a chain: its names, its end, and the digest of its public key."""

    names: tuple[str, ...]
    not_after: datetime
    public_key: str


@dataclass(frozen=True)
class Facts:
    """`files`: reference -> bytes of public files. `unreadable`: reference -> why. `key`: digest of its public half.

    `server`: the release of the post office's code that a deploy carries. `checks`: ids of the checks there are, empty
    where nobody asked. `certificate` and `key` are None where they are not on the controller, or encrypted.
    """

    now: datetime | None = None
    certificate: Certificate | None = None
    key: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    checks: frozenset[str] = frozenset()
    server: str = ""


EXPIRY_WARNING_DAYS = 21  # certificates live 90 days or less: renewal is due at 30 days left, so 21 means it failed
