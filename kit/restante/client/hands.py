"""What this process holds: leases are extended while handlers run, acknowledgements go out together, a stalled handler is noticed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restante.client.connection import boottime
from restante.client.delivery import Delivery
from restante.client.errors import MailboxError, RefusedError, UnavailableError
from restante.client.figures import Figures
from restante.client.found import Found
from restante.client.settings import Settings

log = logging.getLogger("restante.client")
TICK_S = 0.25
EXTEND_AT = 0.5  # of a lease that is left

Call = Callable[..., Any]


@dataclass
class _Held:
    delivery: Delivery
    until: float
    started_at: float | None = None


class Hands:
    """The keeper of deliveries (delivery.Keeper). `call` is Http.call, or a fake's."""

    def __init__(self, call: Call, settings: Settings, figures: Figures, found: Found) -> None:
        self._call, self._settings, self._figures, self._found = call, settings, figures, found
        self.nack_delay_s = settings.nack_delay_s
        self._held: dict[str, _Held] = {}
        self._acks: list[str] = []
        self._batch: tuple[str, frozenset[str]] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.freed = threading.Event()
        self.each_tick: Callable[[], None] = lambda: None

    def start(self) -> None:
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._keep, name="restante-leases", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Everything that was handled is told; what was not is given back uncounted."""
        self._stop.set()
        if self._thread:
            self._thread.join(2 * self._settings.timeout_s)
            self._thread = None
        with self._lock:
            left = [each.delivery for each in self._held.values()]
        try:
            self.flush()
            for delivery in left:
                delivery.release()
        except MailboxError as error:
            log.warning("not told before stopping, their leases will run out: %s", error)

    @property
    def room(self) -> int:
        with self._lock:
            return self._settings.max_in_flight - len(self._held)

    @property
    def overdue(self) -> bool:
        """A handler has run for longer than it may."""
        limit = boottime() - self._settings.max_handling_s
        with self._lock:
            return any(each.started_at is not None and each.started_at < limit for each in self._held.values())

    def receive(self, most: int, wait_s: float, attempt_id: str) -> tuple[list[Delivery], Mapping[str, Any]]:
        """Messages, and the whole answer; what was handled is acknowledged on the way. The same `attempt_id` gives the same again.

        Raises UnavailableError, RefusedError.
        """
        whole = self._whole_batch()
        if not whole:
            self.flush()
        settings = self._settings
        body = {
            "max_messages": min(most, 100), "wait_seconds": wait_s, "visibility_timeout": settings.lease_s, "consumer": settings.consumer,
            "worker": settings.worker, "reclaim": not self._held, "attempt_id": attempt_id, **({"ack_batch": whole[0]} if whole else {}),
        }  # fmt: skip
        asked_at = boottime()
        try:
            answer = self._call("POST", f"{settings.path}/receive", body, wait_s=wait_s)
        except RefusedError as error:
            if error.code != "unknown_batch":
                raise
            self.flush()  # each by itself: a restore has made all of them unknown, and says so of each
            return self.receive(most, wait_s, attempt_id)
        if whole:
            self._told(whole[1])
        return self._take(answer, asked_at), answer

    def _take(self, answer: Mapping[str, Any], asked_at: float) -> list[Delivery]:
        deliveries = [Delivery(item, self) for item in answer["items"]]
        with self._lock:
            for each in deliveries:
                self._held[each.receipt_handle] = _Held(each, asked_at + self._settings.lease_s)
            if deliveries:
                self._batch = answer["batch"], frozenset(each.receipt_handle for each in deliveries)
        for each in deliveries:
            self._found.received(each.message.id, time.time() - each.message.received_at)
        self._figures.received += len(deliveries)
        return deliveries

    def begin(self, delivery: Delivery) -> None:
        with self._lock:
            if held := self._held.get(delivery.receipt_handle):
                held.started_at = boottime()

    def end(self, delivery: Delivery) -> None:
        with self._lock:
            self._held.pop(delivery.receipt_handle, None)
        self.freed.set()

    def ack(self, delivery: Delivery) -> None:
        with self._lock:
            self._held.pop(delivery.receipt_handle, None)
            self._acks.append(delivery.receipt_handle)
        self._figures.acknowledged += 1
        self.freed.set()

    def nack(self, delivery: Delivery, delay_s: float, reason: str | None, *, counted: bool) -> None:
        with self._lock:
            self._held.pop(delivery.receipt_handle, None)
            self._batch = None
        self._figures.failed += counted
        self._figures.released += not counted
        self.freed.set()
        body = {"receipt_handles": [delivery.receipt_handle], "delay_seconds": delay_s, "count_attempt": counted}
        try:
            self._call("POST", f"{self._settings.path}/nack", {**body, **({"reason": reason} if reason else {})})
        except UnavailableError as error:
            log.warning("%s could not be given back, its lease will run out: %s", delivery.message.id, error)

    def extend(self, delivery: Delivery, lease_s: float) -> None:
        self._extend([delivery.receipt_handle], lease_s)

    def flush(self) -> None:
        """Tell what was handled. Raises UnavailableError; it is kept, and told later."""
        with self._lock:
            handles, self._batch = list(self._acks), None
        for start in range(0, len(handles), 100):
            some = handles[start : start + 100]
            self._call("POST", f"{self._settings.path}/ack", {"receipt_handles": some})
            self._told(some)

    def _whole_batch(self) -> tuple[str, frozenset[str]] | None:
        """The last batch, when all of it was handled and nothing else: then its name says it in the next request."""
        with self._lock:
            if self._batch and not self._held and self._batch[1] == set(self._acks):
                return self._batch
        return None

    def _told(self, handles: Sequence[str] | frozenset[str]) -> None:
        gone = set(handles)
        with self._lock:
            self._acks = [each for each in self._acks if each not in gone]
            if self._batch and self._batch[1] == gone:
                self._batch = None

    def _extend(self, handles: list[str], lease_s: float) -> None:
        asked_at = boottime()
        body = {"receipt_handles": handles, "visibility_timeout": lease_s}
        answer = self._call("POST", f"{self._settings.path}/extend", body)
        with self._lock:
            for each in answer["results"]:
                held = self._held.get(each["receipt_handle"])
                if held and each["result"] == "ok":
                    held.until = asked_at + lease_s
                elif held:
                    log.warning("the lease of %s was lost: it may be handled twice", held.delivery.message.id)
                    held.until = float("inf")  # not asked again

    def _keep(self) -> None:
        waiting_since = 0
        while not self._stop.wait(TICK_S):
            try:
                self.each_tick()
                self._overdue()
                self._extend_due()
                # What no further receive has told is told by itself.
                waiting_since = waiting_since + 1 if self._acks else 0
                if waiting_since > 1:
                    self.flush()
            except UnavailableError as error:
                log.info("leases wait: %s", error)
            except Exception as error:
                # A keeper that ended would let every lease run out, and nobody would notice.
                log.error("leases could not be kept: %s", error, exc_info=not isinstance(error, RefusedError))
                self._stop.wait(self._settings.lease_s / 4)

    def _extend_due(self) -> None:
        soon = boottime() + self._settings.lease_s * EXTEND_AT
        with self._lock:
            due = [handle for handle, each in self._held.items() if each.until < soon]
        for start in range(0, len(due), 100):
            self._extend(due[start : start + 100], self._settings.lease_s)

    def _overdue(self) -> None:
        limit = boottime() - self._settings.max_handling_s
        with self._lock:
            late = [each for each in self._held.values() if each.started_at is not None and each.started_at < limit]
        for each in late:
            if not each.delivery.settled:
                self._figures.overran += 1
                log.error("a handler has %s for longer than max_handling", each.delivery.message.id)
                body = {
                    "receipt_handles": [each.delivery.receipt_handle],
                    "reason": "its handler took longer than max_handling",
                }
                each.delivery.settled = True
                self._call("POST", f"{self._settings.path}/nack", body)
