"""An inbox as its agent sees it. Delivery is `receive` and `ack`; the line beside it only says when to ask."""

from __future__ import annotations

import logging
import random
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any

from restante import systemd
from restante.client import settings as defaults
from restante.client.connection import boottime
from restante.client.delivery import Delivery
from restante.client.errors import MailboxError, UnavailableError
from restante.client.figures import Figures, Health, Text, judge
from restante.client.found import Found
from restante.client.hands import Call, Hands
from restante.client.http import Http
from restante.client.line import Line
from restante.client.reading import Reader
from restante.client.settings import Settings
from restante.client.subscription import Subscription
from restante.protocol.backoff import JITTER, Backoff
from restante.protocol.ladder import Rung

log = logging.getLogger("restante.client")
STALL_S = 30.0  # beyond the time at which a loop was to turn
TELL_S = 5.0  # how often systemd is told how things are
AGAIN_S = 2.0  # how often to ask while a channel is being opened again, or can't tell of mail


class Mailbox(Reader):
    """`url`, `inbox`, `token` from the arguments, else RESTANTE_URL, RESTANTE_INBOX, RESTANTE_TOKEN or a systemd credential.

    `options` are the fields of `restante.client.settings.Settings`. Raises ConfigurationError with what is missing.
    """

    def __init__(
        self, url: str | None = None, *, inbox: str | None = None, token: str | None = None, **options: Any
    ) -> None:
        found = defaults.resolve(url, inbox, token)
        options.setdefault("worker", defaults.worker())
        self.settings = Settings(*found, **options)
        http = Http(found[0], found[2], self.settings.timeout_s)
        self._build(http, http.call)

    def _build(self, http: Http | None, call: Call) -> None:
        self._http, self._call = http, call
        self.figures = Figures()
        found = Found(self.figures)
        self._subscription = Subscription(self.settings.inbox, self.figures, found)
        self._line = Line(http, self.settings, self._subscription, self.figures) if http else None
        self._hands = Hands(call, self.settings, self.figures, found)
        self._backoff = Backoff(random.random)
        self._stopping = threading.Event()
        self._due_by = float("inf")  # when the consuming loop turns again, at the latest
        self._attempt_id = ""
        self._asked_at = boottime()
        self._until_idle = False

    # -- receiving

    def receive(self, max_messages: int = 10, wait_s: float = 0) -> list[Delivery]:
        """What waits, once. Acknowledge each, or use it as a context manager; leases are extended meanwhile."""
        self._hands.start()
        return self._hands.receive(max_messages, wait_s, secrets.token_hex(8))[0]

    def consume(self) -> Iterator[Delivery]:
        """Deliveries, for ever: waits, survives everything that passes, ends on `stop`. Raises RefusedError for what does not pass.

        On SIGTERM (in the main thread, where nobody else handles it) the handler is left by SystemExit, and what it held is given
        back uncounted.
        """
        before = self._on_sigterm()
        self.begin()
        try:
            while not self._stopping.is_set():
                yield from self.next_batch()
        finally:
            self.end()
            if before is not None:
                signal.signal(signal.SIGTERM, before)

    def begin(self) -> None:
        """Start what stands beside a consumer: the line, the keeper of leases, the watchdog."""
        self._stopping.clear()
        self._hands.each_tick = _every(min(systemd.watchdog_interval_s() or TELL_S, TELL_S), self._tell)
        self._hands.start()
        if self._line:
            self._line.start()
        systemd.notify(f"READY=1\nSTATUS=waiting for mail to {self.settings.inbox}")

    def end(self) -> None:
        """Tell what was handled, give back what was not, let go of the line."""
        self._stopping.set()
        self._hands.stop()
        if self._line:
            self._line.stop()

    def stop(self) -> None:
        """From any thread: `consume` ends when the block it is in ends."""
        self._stopping.set()
        self._subscription.news.set()
        self._hands.freed.set()

    def next_batch(self) -> list[Delivery]:
        """The next deliveries, at most as many as there is room for; empty after `stop`."""
        reconcile_at = self._reconcile_at()
        while not self._stopping.is_set():
            self._hands.freed.clear()
            if (room := self._hands.room) <= 0:
                self._pause(self._hands.freed, self.settings.max_handling_s)
                continue
            self._subscription.news.clear()
            found, answer = self._ask(room, self._poll_s())
            if found:
                self._due_by = boottime() + self.settings.max_handling_s
                return found
            if answer.get("idle") and self._until_idle:
                self.stop()
            elif answer and self._line and self._line.running and not self._rest(answer, reconcile_at):
                reconcile_at = self._reconcile_at()
        return []

    def _poll_s(self) -> float:
        """How long the server may hold a request: not while a channel stands, nor while one is being opened again.

        A request that waits on a path that died would keep us from asking once a channel stands, and take mail along.
        """
        opening = self._line is not None and self._line.running and self.figures.channel != Rung.poll.name
        return 0 if opening else self.settings.poll_s

    def _rest(self, answer: Mapping[str, Any], reconcile_at: float) -> bool:
        """Wait for news; False when it was time to ask without any."""
        if self._poll_s():
            return True
        # A post office that is parted from the store tells of nothing; a request may come to another.
        told = self._line and self._line.up and not self.figures.store_away
        limits = [reconcile_at - boottime() if told else AGAIN_S]
        if (ready := answer.get("next_ready_in_s")) is not None:
            limits.append(ready + 0.01)
        return self._pause(self._subscription.news, max(0.0, min(limits)))

    def _reconcile_at(self) -> float:
        return boottime() + self.settings.reconcile_s * (1 + JITTER * random.random())  # noqa: S311

    def _ask(self, room: int, wait_s: float) -> tuple[list[Delivery], Mapping[str, Any]]:
        """One `receive`; nothing when the post office is away, after a wait."""
        self._attempt_id = self._attempt_id or secrets.token_hex(8)
        self._asked_at = boottime()
        self._due_by = boottime() + wait_s + 2 * self.settings.timeout_s
        try:
            found, answer = self._hands.receive(room, wait_s, self._attempt_id)
        except UnavailableError as error:
            delay = self._backoff.delay_s()
            log.warning("%s; asked again in %.0f s", error, delay)
            self._pause(self._subscription.news, delay)
            return [], {}
        self._attempt_id = ""
        self._backoff.attempts = 0
        return found, answer

    def _pause(self, event: threading.Event, seconds: float) -> bool:
        self._due_by = boottime() + seconds
        return event.wait(seconds)

    # -- everything else

    def create_inbox(self, client_id: str, *, username: str | None = None, **settings: Any) -> Mapping[str, Any]:
        """An inbox of its own; the same `client_id` gives the same one again. Needs a token that may manage."""
        body = {"client_id": client_id, **({"username": username} if username else {}), **settings}
        return dict(self._call("POST", "/v1/inboxes", body))

    def redrive(self, ids: Sequence[str] | None = None) -> int:
        """Dead letters come again: those named, or all. How many."""
        body = {"ids": list(ids)} if ids is not None else {"since": 0}
        return int(self._call("POST", f"{self.settings.path}/dead-letters/redrive", body)["redriven"])

    def listen(self, callback: Callable[[Mapping[str, Any]], None]) -> None:
        """Call `callback` with each signal (id, cursor, from, subject, size), for ever. What was missed is read from the listing.

        Signals are hints: they need no acknowledgement, and a restart forgets where it was. For work that must be done, `consume`.
        """
        if self._line is None:
            raise MailboxError("a fake post office sends no signals")
        self._subscription.listen()
        self._line.start()
        try:
            while not self._stopping.is_set():
                for frame in self._subscription.heard(1.0):
                    if frame["type"] == "signal":
                        callback(frame)
                    else:
                        for message in self.messages(cursor=frame["after"]):
                            callback(message.data)
                if self._line.failure:
                    raise self._line.failure
        finally:
            self._line.stop()

    # -- what it knows of itself

    def health(self) -> Health:
        """Whether this path earns its keep, as a sentence and as numbers."""
        failure = self._line.failure if self._line else None
        return judge(self.figures, up=bool(self._line and self._line.up), failure=str(failure) if failure else None)

    def serve_metrics(self, port: int, address: str = "127.0.0.1") -> None:
        """A page for Prometheus, for as long as the process runs."""
        Text(self.figures, self.settings.inbox).serve(port, address)

    def status(self) -> str:
        """One line, as systemctl shows it and `restante verify` reads it (checks/test_agent.py)."""
        now, figures = boottime(), self.figures
        beat = "-" if figures.heartbeat_at is None else f"{now - figures.heartbeat_at:.0f}"
        state = "up" if self._line and self._line.up else "down"
        position = self._subscription.cursor or "-"
        return (
            f"{figures.channel} {state}; heartbeat {beat} s ago; asked {now - self._asked_at:.0f} s ago; at {position}; "
            f"{figures.acknowledged} handled"
        )

    def _tell(self) -> None:
        """The watchdog is fed connected or not: an outage of the post office must not have systemd kill healthy agents."""
        systemd.notify(f"STATUS={self.status()}")
        now = boottime()
        if self._hands.overdue or now > self._due_by + STALL_S:
            return
        if self._line and self._line.running and now > self._line.turned_at + STALL_S:
            return
        systemd.notify("WATCHDOG=1")

    def _on_sigterm(self) -> Any:
        if (
            threading.current_thread() is not threading.main_thread()
            or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        ):
            return None
        return signal.signal(signal.SIGTERM, _leave)

    def close(self) -> None:
        """End, and let go of all connections."""
        self.end()
        if self._http:
            self._http.close()

    def __enter__(self) -> Mailbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _leave(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def _every(seconds: float, work: Callable[[], None]) -> Callable[[], None]:
    """`work`, at most once in so many seconds however often it is called."""
    last = -seconds

    def maybe() -> None:
        nonlocal last
        if boottime() - last >= seconds:
            last = boottime()
            work()

    return maybe
