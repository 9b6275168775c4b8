"""What Prometheus reads. What the store knows is asked for at the scrape, what passes by is counted here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import restante

_DELAYS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """One registry for each server, so that tests may have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counted(partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry))
        self._seen(partial(Gauge, registry=self.registry))

    def _counted(self, counter: Callable[..., Counter], histogram: Callable[..., Histogram]) -> None:
        """What passes by."""
        self.arrivals = counter(
            "restante_arrivals", "Recipients of mails that the MTA handed over, by verdict.", ["verdict"]
        )
        self.received = counter("restante_receives", "Deliveries handed out.")
        self.settled = counter("restante_settled", "Receipt handles, by verb and result.", ["verb", "result"])
        self.signals = counter("restante_signals", "Signals sent, by channel.", ["channel"])
        self.signal_delay = histogram(
            "restante_signal_delay_seconds", "From the commit to the signal.", buckets=_DELAYS
        )
        self.opens = counter("restante_socket_opens", "Sockets that were opened.")
        self.closes = counter("restante_socket_closes", "Sockets that the server closed, by code.", ["code"])
        self.slow = counter("restante_slow_sockets", "Sockets dropped because their client did not read.")
        self.requests = counter("restante_requests", "HTTP requests, by status class.", ["status"])
        self.commit = histogram("restante_commit_seconds", "From a mail's end to its commit.", buckets=_DELAYS)
        self.webhooks = counter("restante_webhook_attempts", "Webhook attempts, by result.", ["result"])

    def _seen(self, gauge: Callable[..., Gauge]) -> None:
        """What is asked for at the scrape."""
        self.release = gauge("restante_release", "1; the label is the folder that the code runs from.", ["release"])
        self.release.labels(Path(restante.__file__).parents[1].name).set(1)
        self.sockets = gauge("restante_sockets", "WebSockets that are open.")
        self.paused = gauge("restante_webhooks_paused", "Webhooks that are paused.")
        self.oldest = gauge(
            "restante_oldest_unacknowledged_seconds",
            "Age of the oldest message a consumer has not acknowledged; none where there is none.",
            ["inbox", "consumer"],
        )
        self.backlog = gauge(
            "restante_unacknowledged",
            "Messages a consumer has not acknowledged; none where there are none.",
            ["inbox", "consumer"],
        )
        self.dead = gauge("restante_dead_letters", "Dead letters; none where there are none.", ["inbox", "consumer"])
        self.free = gauge("restante_store_free_bytes", "Free space where the store is.")
        self.free_age = gauge("restante_store_free_age_seconds", "How old the knowledge of that space is.")
        self.store_up = gauge("restante_store_up", "Whether the store answered.")
        self.mta_deferred = gauge("restante_mta_queue", "Mails in Postfix's queue.", ["queue"])
        self.mta_oldest = gauge("restante_mta_oldest_seconds", "Age of the oldest mail in Postfix's queue.")
        self.backup_age = gauge(
            "restante_backup_age_seconds", "Age of the newest backup of a SQLite store; infinite without one."
        )
        self.backup_stale = gauge(
            "restante_backup_stale_after_seconds", "Age at which the newest backup is too old; 0: never."
        )
        self.certificate_end = gauge(
            "restante_certificate_not_after_seconds",
            "When a certificate of this host ends, in Unix time.",
            ["certificate"],
        )
        self.certificate_warning = gauge(
            "restante_certificate_warn_before_seconds", "With less to go nobody renewed it in time.", ["certificate"]
        )
        self.agents = gauge("restante_agent_counter", "What agents report in their pings, summed.", ["name"])

    def value(self, name: str, **labels: str) -> float:
        """Of one sample, as a scrape would show it."""
        return self.registry.get_sample_value(name, labels) or 0.0
