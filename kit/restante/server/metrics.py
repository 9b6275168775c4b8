"""What Prometheus reads. What the store knows is asked for at the scrape, what passes by is counted here."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import restante

_DELAYS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """One registry for each server, so that tests may have several."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.arrivals = Counter(
            "restante_arrivals",
            "Recipients of mails that the MTA handed over, by verdict.",
            ["verdict"],
            registry=registry,
        )
        self.received = Counter("restante_receives", "Deliveries handed out.", registry=registry)
        self.settled = Counter(
            "restante_settled", "Receipt handles, by verb and result.", ["verb", "result"], registry=registry
        )
        self.signals = Counter("restante_signals", "Signals sent, by channel.", ["channel"], registry=registry)
        self.signal_delay = Histogram(
            "restante_signal_delay_seconds", "From the commit to the signal.", buckets=_DELAYS, registry=registry
        )
        self.closes = Counter(
            "restante_socket_closes", "Sockets that the server closed, by code.", ["code"], registry=registry
        )
        self.slow = Counter(
            "restante_slow_sockets", "Sockets dropped because their client did not read.", registry=registry
        )
        self.release = Gauge(
            "restante_release", "1; the label is the folder that the code runs from.", ["release"], registry=registry
        )
        self.release.labels(Path(restante.__file__).parents[1].name).set(1)
        self.sockets = Gauge("restante_sockets", "WebSockets that are open.", registry=registry)
        self.requests = Counter("restante_requests", "HTTP requests, by status class.", ["status"], registry=registry)
        self.commit = Histogram(
            "restante_commit_seconds", "From a mail's end to its commit.", buckets=_DELAYS, registry=registry
        )
        self.webhooks = Counter(
            "restante_webhook_attempts", "Webhook attempts, by result.", ["result"], registry=registry
        )
        self.paused = Gauge("restante_webhooks_paused", "Webhooks that are paused.", registry=registry)
        self.oldest = Gauge(
            "restante_oldest_unacknowledged_seconds",
            "Age of the oldest message a consumer has not acknowledged.",
            ["inbox", "consumer"],
            registry=registry,
        )
        self.backlog = Gauge(
            "restante_unacknowledged",
            "Messages a consumer has not acknowledged.",
            ["inbox", "consumer"],
            registry=registry,
        )
        self.dead = Gauge("restante_dead_letters", "Dead letters.", ["inbox", "consumer"], registry=registry)
        self.free = Gauge("restante_store_free_bytes", "Free space where the store is.", registry=registry)
        self.free_age = Gauge(
            "restante_store_free_age_seconds", "How old the knowledge of that space is.", registry=registry
        )
        self.store_up = Gauge("restante_store_up", "Whether the store answered.", registry=registry)
        self.mta_deferred = Gauge("restante_mta_queue", "Mails in Postfix's queue.", ["queue"], registry=registry)
        self.mta_oldest = Gauge(
            "restante_mta_oldest_seconds", "Age of the oldest mail in Postfix's queue.", registry=registry
        )
        self.backup_age = Gauge(
            "restante_backup_age_seconds",
            "Age of the newest backup of a SQLite store; infinite without one.",
            registry=registry,
        )
        self.backup_stale = Gauge(
            "restante_backup_stale_after_seconds",
            "Age at which the newest backup is too old; 0: never.",
            registry=registry,
        )
        self.certificate_end = Gauge(
            "restante_certificate_not_after_seconds",
            "When a certificate of this host ends, in Unix time.",
            ["certificate"],
            registry=registry,
        )
        self.certificate_warning = Gauge(
            "restante_certificate_warn_before_seconds",
            "With less to go nobody renewed it in time.",
            ["certificate"],
            registry=registry,
        )
        self.agents = Gauge(
            "restante_agent_counter", "What agents report in their pings, summed.", ["name"], registry=registry
        )
