"""What follows for mail: how long each hop keeps it, how soon it tries again, how much fits, and what the store needs."""

from __future__ import annotations

from collections.abc import Iterator

from restante.plan import backup
from restante.plan.derived import Rule, Values
from restante.plan.post import store_host
from restante.spec.document import Path
from restante.spec.hosts import Tier
from restante.spec.mail import Inboxes
from restante.spec.model import Spec

DAY_S = 86_400
HELD_S = 30 * DAY_S
MIB = 1 << 20
SPARE = 1024  # plain requests, LMTP sessions, database, log
ASSUMED_MEMORY = 1 << 30  # of a store host that does not say
CONNECTIONS = 32  # that one post host may hold to PostgreSQL
_POSTFIX, _POSTGRESQL = "Postfix, postconf(5)", "PostgreSQL, runtime configuration"


def derive(spec: Spec, values: Values) -> list[Rule]:
    """Fill in what mail needs; returns its part of the chain. Nothing without post hosts."""
    if not spec.hosts_of(Tier.post) or not spec.inboxes:
        return []
    _inboxes(spec.inboxes, values)
    _queue(spec, values)
    _listener(values)
    _server(spec, values)
    if spec.hosts_of(Tier.store):
        _postgresql(spec, values)
    return list(_rules(spec, values))


def _inboxes(inboxes: Inboxes, values: Values) -> None:
    source = "the spec, or its default (docs/reference/spec.md)"
    values.add("inbox.lease", inboxes.lease, "s", "So long a received message is hidden from other workers.",
        risk="shorter than the work, and two workers do it", source=source, spec_key="inboxes.lease")  # fmt: skip
    values.add("inbox.attempts", inboxes.attempts, "leases", "So many leases may run out until a message is a dead letter.",
        risk="without an end a poisonous mail comes back for ever", source=source, spec_key="inboxes.attempts")  # fmt: skip
    values.add("inbox.retention", inboxes.retention, "s", "Acknowledged mail is kept so long; the rest for ever.",
        risk="too short, and a mistake cannot be replayed", source=source, spec_key="inboxes.retention")  # fmt: skip
    values.add("inbox.quota", inboxes.quota // MIB, "MiB", "One inbox must not fill the disk of all.",
        risk="one flooded inbox stops every other", source=source, spec_key="inboxes.quota")  # fmt: skip
    values.add("mail.message_size", inboxes.message_size, "bytes", "One limit for Postfix and store: what Postfix takes, the store takes.",
        risk="a store below Postfix defers a mail until it is held", source=source, spec_key="inboxes.message_size")  # fmt: skip


def _queue(spec: Spec, values: Values) -> None:
    hold = values.add("queue.hold_after", spec.outage, "s", "Mail that waits longer than the outage is put on hold, and a person is told.",
        risk="Postfix would return it to a sender whose mail we had accepted", source="guarantee G6", spec_key="outage")  # fmt: skip
    lifetime = values.add("queue.lifetime", hold + HELD_S, "s", "The outage, and thirty days in which what is on hold can be released: after them a first 4xx returns it. Null-sender mail lives as long.",
        risk="a sender gets a bounce for our own trouble", source=f"{_POSTFIX}: maximal_queue_lifetime", spec_key="outage")  # fmt: skip
    values.add("queue.watch", 300, "s", "How often old mail is looked for.",
        risk="seldom, and the alert is late", source="guarantee G6", spec_key="outage")  # fmt: skip
    values.add("queue.run_delay", 60, "s", "How often the deferred queue is looked at.",
        risk="the default of 300 s adds minutes after an outage", source=f"{_POSTFIX}: queue_run_delay", spec_key="outage")  # fmt: skip
    values.add("queue.minimal_backoff", 60, "s", "First retry; the destination is our own, and no stranger's to be spared.",
        risk="the default of 300 s adds minutes to every hiccup", source=f"{_POSTFIX}: minimal_backoff_time", spec_key="outage")  # fmt: skip
    values.add("queue.maximal_backoff", 300, "s", "Longest time between two tries: what waits at most after an outage that nobody told us has ended.",
        risk="the default of 4000 s keeps mail for an hour after a repair", source=f"{_POSTFIX}: maximal_backoff_time", spec_key="outage")  # fmt: skip
    values.add("mail.hop_retention", lifetime + DAY_S, "s", "The queue's lifetime and a day: what is released at its end must still be known.",
        risk="a mail whose 250 was lost is stored twice", source="exact dedupe by queue id", spec_key="outage")  # fmt: skip
    disk = spec.store.disk or 0
    values.add("mail.free_space_floor", max(512, disk // MIB // 20), "MiB", "5 % of the declared disk, 512 MiB at least: below it new mail is answered 452.",
        risk="a full disk stops the store in the middle of a write", source="arithmetic; RFC 3463 4.3.1", spec_key="store.disk")  # fmt: skip


def _listener(values: Values) -> None:
    processes = values.add("smtp.processes", 100, "processes", "Sessions at once: Postfix's own default; a queue that grows is not helped by more.",
        risk="more compete with the store for the same cores", source=f"{_POSTFIX}: default_process_limit", spec_key="inboxes")  # fmt: skip
    values.add("smtp.client_connections", processes // 2, "sessions", "One client may take half of them.",
        risk="one sender locks out the others", source=f"{_POSTFIX}: smtpd_client_connection_count_limit", spec_key="inboxes")  # fmt: skip
    values.add("smtp.client_connection_rate", 300, "per minute", "Five a second from one address; assumed, not measured.",
        risk="without it a client in a loop costs a process each time", source=f"{_POSTFIX}: smtpd_client_connection_rate_limit", spec_key="inboxes")  # fmt: skip
    values.add("smtp.client_message_rate", 1200, "per minute", "Twenty a second from one address; assumed, not measured. More is answered 450, and comes again.",
        risk="one sender floods the store", source=f"{_POSTFIX}: smtpd_client_message_rate_limit", spec_key="inboxes")  # fmt: skip
    values.add("lmtp.concurrency", 20, "sessions", "As many waiting mails share one commit; more gain little and take cores from the store.",
        risk="1 pays one fdatasync a mail", source="a sketch: 3600/s at 20 sessions, 4600 at 100", spec_key="inboxes")  # fmt: skip
    values.add("lmtp.recipients", 50, "recipients", "One transaction for up to 50 inboxes: the body is sent and stored once.",
        risk="1 sends a body once for each recipient", source=f"{_POSTFIX}: lmtp_destination_recipient_limit", spec_key="inboxes")  # fmt: skip


def _server(spec: Spec, values: Values) -> None:
    values.add("server.watchdog", 30, "s", "The post office tells systemd that its loop turns; silence for so long means it has stalled.",
        risk="a stalled process answers nobody and is not restarted", source="systemd.service(5): WatchdogSec", spec_key="heartbeat.interval")  # fmt: skip
    drain = values.add("server.drain", values["edge.drain"], "s", "It asks its sockets to reconnect, and waits so long for them to go.",
        risk="without it every restart is a mass cut", source="protocol: reconnect", spec_key="edge.drain")  # fmt: skip
    values.add("server.stop_timeout", drain + 15, "s", "The drain and 15 s, before systemd kills.",
        risk="a kill cuts what still drains", source="systemd.service(5): TimeoutStopSec", spec_key="edge.drain")  # fmt: skip
    posts = len(spec.hosts_of(Tier.post))
    sockets = -(-spec.agents // max(1, posts - 1))
    values.add("server.nofile", -(-(sockets + SPARE) // 1024) * 1024, "descriptors", "One for each agent's socket when one post host is away, and some for the rest.",
        risk="the default of 1024 refuses the next agent", source="systemd.exec(5): LimitNOFILE", spec_key="agents")  # fmt: skip


def _postgresql(spec: Spec, values: Values) -> None:
    name = store_host(spec)
    memory = (spec.hosts[name].memory if name else None) or ASSUMED_MEMORY
    key = f"hosts.{name}.memory"
    said = f"{memory // MIB} MiB of memory" + ("" if name and spec.hosts[name].memory else ", assumed")
    values.add("store.shared_buffers", memory // MIB // 4, "MiB", f"A quarter of {said}.",
        risk="the default of 128 MiB reads hot pages twice", source=f"{_POSTGRESQL}: shared_buffers", spec_key=key)  # fmt: skip
    values.add("store.effective_cache_size", memory // MIB // 2, "MiB", f"What the kernel caches too: half of {said}.",
        risk="the planner avoids indexes that it takes for cold", source=f"{_POSTGRESQL}: effective_cache_size", spec_key=key)  # fmt: skip
    values.add("store.maintenance_work_mem", max(64, memory // MIB // 16), "MiB", f"A sixteenth of {said}, for vacuum and indexes.",
        risk="vacuum passes over an index many times", source=f"{_POSTGRESQL}: maintenance_work_mem", spec_key=key)  # fmt: skip
    values.add("store.space_every", 10, "s", "The store's host tells the post offices its free space so often.",
        risk="too seldom, and a flood of mail passes the floor before anybody looks", source="arithmetic: a gigabit fills 1.2 GiB meanwhile", spec_key="store.engine")  # fmt: skip
    values.add("store.max_wal_size", 4096 if (spec.store.disk or 0) >= 64 << 30 else 1024, "MiB", "Bodies go through the log too: fewer forced checkpoints; 4 GiB where the disk has 64.",
        risk="a flood of mail forces a checkpoint every few seconds", source=f"{_POSTGRESQL}: max_wal_size", spec_key="store.disk")  # fmt: skip
    values.add("store.max_connections", CONNECTIONS * len(spec.hosts_of(Tier.post)) + 8, "connections", f"{CONNECTIONS} for each post host, and 8 for people and backups.",
        risk="a post host that restarts finds no place", source=f"{_POSTGRESQL}: max_connections", spec_key="hosts")  # fmt: skip


def _rules(spec: Spec, values: Values) -> Iterator[Rule]:
    lifetime, hold = values["queue.lifetime"], values["queue.hold_after"]
    yield Rule("queue-outlives-outage", "outage", spec.outage, "queue.lifetime", lifetime,
        "Postfix returns mail at the end of its lifetime", "take back or raise the override of queue.lifetime", "overrides.values.queue.lifetime")  # fmt: skip
    yield Rule("hold-before-bounce", "queue.hold_after + twelve looks of queue.watch", hold + 12 * values["queue.watch"], "queue.lifetime", lifetime,
        "mail must be on hold before Postfix returns it", "lower queue.hold_after, or raise queue.lifetime", "overrides.values.queue.hold_after")  # fmt: skip
    yield Rule("hop-outlives-queue", "queue.lifetime", lifetime, "mail.hop_retention", values["mail.hop_retention"],
        "a mail that Postfix still tries must be known as stored", "take back or raise the override of mail.hop_retention", "overrides.values.mail.hop_retention")  # fmt: skip
    yield Rule("run-within-backoff", "queue.run_delay", values["queue.run_delay"], "queue.minimal_backoff", values["queue.minimal_backoff"],
        "mail is tried again only when the queue is looked at", "lower queue.run_delay", "overrides.values.queue.run_delay", strict=False)  # fmt: skip
    yield Rule("backoff-grows", "queue.minimal_backoff", values["queue.minimal_backoff"], "queue.maximal_backoff", values["queue.maximal_backoff"],
        "delays grow from one to the other", "raise queue.maximal_backoff", "overrides.values.queue.maximal_backoff", strict=False)  # fmt: skip
    yield Rule("longpoll-within-lease", "edge.longpoll_hold", values["edge.longpoll_hold"], "inbox.lease", values["inbox.lease"],
        "a lease must not run out on the way to its worker", "raise inboxes.lease", "inboxes.lease")  # fmt: skip


def problems(spec: Spec, values: Values) -> Iterator[tuple[Path, str]]:
    """Sizes that cannot work, each with its place."""
    inboxes, store = spec.inboxes, spec.store
    if not inboxes or "mail.message_size" not in values.table:
        return
    if values["mail.message_size"] > values["inbox.quota"] * MIB:
        yield (
            ("inboxes", "quota"),
            (
                f"{values['inbox.quota']} MiB is below one mail of inboxes.message_size ({values['mail.message_size'] // MIB} MiB): "
                "such a mail would never fit; raise the quota, or lower the size"
            ),
        )
    if store.mail_per_day and not store.disk:
        yield ("store", "mail_per_day"), "mail_per_day is there to judge disk, and store.disk is not given; add it"
    if store.mail_per_day and store.disk:
        yield from _disk(spec, values, -(-(inboxes.retention + spec.outage) // DAY_S))


def _disk(spec: Spec, values: Values, days: int) -> Iterator[tuple[Path, str]]:
    """Mail for so many days, and as many times again as backups lie beside it."""
    store, floor = spec.store, values["mail.free_space_floor"]
    copies = backup.beside_the_store(spec)
    disk, a_day = (store.disk or 0) // MIB, (store.mail_per_day or 0) // MIB
    need = a_day * days * (1 + copies) + floor
    if need > disk:
        fits = max(0, disk - floor) // days // (1 + copies)
        backups = f" and {copies} backups of it (store.backup)" if copies else ""
        elsewhere = ", give backups a disk of their own (store.backup.directory)" if copies else ""
        yield (
            ("store", "disk"),
            (
                f"{disk} MiB do not hold {days} days of mail (inboxes.retention and outage){backups} at {a_day} MiB a day beside a free "
                f"{floor} MiB, which is {need} MiB: give it that much{elsewhere}, keep mail for less long, or expect {fits} MiB a day"
            ),
        )
