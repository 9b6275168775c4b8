"""A message in this process's hands, under a lease."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from restante.client.message import Message

log = logging.getLogger("restante.client")
REASON_LIMIT = 2000
BACKOFF = 3  # each further attempt waits so many times as long


class Keeper(Protocol):
    """Who keeps the leases, and tells the post office."""

    nack_delay_s: float

    def begin(self, delivery: Delivery) -> None:
        """Its handler starts."""

    def end(self, delivery: Delivery) -> None:
        """Its handler is over, whatever became of it."""

    def ack(self, delivery: Delivery) -> None:
        """Settled; told with the next request, within moments."""

    def nack(self, delivery: Delivery, delay_s: float, reason: str | None, *, counted: bool) -> None:
        """Given back. Raises UnavailableError; then its lease runs out instead."""

    def extend(self, delivery: Delivery, lease_s: float) -> None:
        """Raises UnavailableError."""


class Delivery:
    """`attempt` counts from 1: from 2 on somebody held it before, and may have done part of the work.

    As a context manager: acknowledged when the block ends well. An exception gives it back with its reason, is logged, and goes no
    further: one bad mail must not stop an agent; after the inbox's last attempt it is a dead letter. What is no `Exception`, such
    as SystemExit on SIGTERM, gives it back uncounted and goes on.
    """

    def __init__(self, item: Mapping[str, Any], keeper: Keeper) -> None:
        self.message = Message(item["message"])
        self.attempt = int(item["attempt"])
        self.first_received_at = float(item["first_received_at"])
        self.receipt_handle = str(item["receipt_handle"])
        self.settled = False
        self._keeper = keeper

    def ack(self) -> None:
        """Handled: it does not come again."""
        if not self.settled:
            self.settled = True
            self._keeper.ack(self)

    def nack(self, delay_s: float | None = None, reason: str | None = None, *, count_attempt: bool = True) -> None:
        """Not handled: it comes again after `delay_s`, by default longer after each attempt."""
        if not self.settled:
            self.settled = True
            delay = self._keeper.nack_delay_s * BACKOFF ** (self.attempt - 1) if delay_s is None else delay_s
            self._keeper.nack(self, delay, reason and reason[:REASON_LIMIT].replace("\0", ""), counted=count_attempt)

    def extend(self, lease_s: float) -> None:
        """A lease of this length from now. Inside a block that is done without being asked."""
        self._keeper.extend(self, lease_s)

    def release(self) -> None:
        """Give it back at once, without counting an attempt."""
        self.nack(0, "the worker stopped", count_attempt=False)

    def __enter__(self) -> Delivery:
        self._keeper.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            return self._leave(error)
        finally:
            self._keeper.end(self)

    def _leave(self, error: BaseException | None) -> bool:
        """Whether the exception goes no further."""
        if error is None:
            self.ack()
            return False
        if not isinstance(error, Exception):
            self.release()
            return False
        if not self.settled:
            log.error("attempt %s of %s failed", self.attempt, self.message.id, exc_info=error)
        self.nack(reason=f"{type(error).__name__}: {error}")
        return True

    def __repr__(self) -> str:
        return f"<Delivery {self.message.id} attempt {self.attempt}: {self.message.subject[:40]!r}>"
