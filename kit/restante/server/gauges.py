"""Gauges of what the store holds, asked for at the scrape and by the alert rules of the server's own."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restante.server.backup import folder
from restante.server.store.base import StoreError
from restante.server.store.tx import Tx

if TYPE_CHECKING:
    from restante.server.api.context import Post


@dataclass(frozen=True, slots=True)
class Waiting:
    """One consumer's unacknowledged mail. `oldest_s` is 0 when there is none."""

    inbox: str
    consumer: str
    unacknowledged: int
    dead: int
    oldest_s: float


def waiting(tx: Tx) -> list[Waiting]:
    """Of those for whom something waits: on most days nearly all have nothing to do."""
    found = []
    for address, name, frontier, head, first, held, dead, inbox_id in tx.all("waiting"):
        seq = first or (frontier + 1 if frontier < head else None)
        at = tx.one("received_at", inbox_id=inbox_id, seq=seq) if seq else None
        found.append(Waiting(address, name, head - frontier + held, dead, max(0.0, tx.now - at[0]) if at else 0.0))
    return found


def mta_queue(post: Post) -> Mapping[str, Any] | None:
    """What restante-queue.service saw last (templates/queue): at, oldest_at, queues; nothing where there is no Postfix."""
    recipients = post.settings.postfix.recipients
    try:
        found: Mapping[str, Any] | None = (
            json.loads(recipients.with_name("queue.json").read_text()) if recipients else None
        )
    except (OSError, ValueError):
        return None
    return found


def mta(post: Post) -> None:
    if found := mta_queue(post):
        post.metrics.mta_deferred.clear()
        for name, number in found["queues"].items():
            post.metrics.mta_deferred.labels(name).set(number)
        oldest = found["oldest_at"]
        post.metrics.mta_oldest.set(max(0.0, time.time() - oldest) if oldest else 0)


def backup_age(post: Post) -> float:
    """Of the newest, in seconds: backups are made beside the server, so it looks."""
    newest = next(iter(folder.listed(post.settings.backups)), None)
    return max(0.0, time.time() - newest.made_at) if newest else math.inf


async def certificates(post: Post) -> None:
    """Those that it may read: the domain's may be a file of the operator's own, for root alone."""
    for name, each in post.settings.certificates.items():
        if end := await _not_after(each.path):
            post.metrics.certificate_end.labels(name).set(end)
            post.metrics.certificate_warning.labels(name).set(each.warn_before_s)


async def _not_after(path: Path) -> float:
    """0 for what cannot be read. Python reads no certificate that it is not shown by a peer; openssl is there where certificates are."""
    asked = await asyncio.create_subprocess_exec(
        "openssl", "x509", "-in", path, "-noout", "-enddate", stdout=PIPE, stderr=DEVNULL
    )
    said, _ = await asked.communicate()
    return ssl.cert_time_to_seconds(said.decode().strip().removeprefix("notAfter=")) if asked.returncode == 0 else 0


async def observe(post: Post) -> None:
    """Fill the gauges. A store that does not answer is itself a reading."""
    metrics = post.metrics
    mta(post)
    await certificates(post)
    if post.settings.backup.stale_after_s:
        metrics.backup_stale.set(post.settings.backup.stale_after_s)
        metrics.backup_age.set(backup_age(post))
    metrics.sockets.set(len(post.sessions.open))
    counters: Counter[str] = Counter()
    for session in post.sessions.open:
        counters.update(session.counters)
    metrics.agents.clear()
    for name, value in counters.items():
        metrics.agents.labels(name).set(value)
    try:
        rows = await post.store.read(waiting)
        free = await post.store.free_space()
    except StoreError:
        metrics.store_up.set(0)
        return
    metrics.store_up.set(1)
    for gauge in (metrics.oldest, metrics.backlog, metrics.dead):
        gauge.clear()
    for row in rows:
        metrics.oldest.labels(row.inbox, row.consumer).set(row.oldest_s)
        metrics.backlog.labels(row.inbox, row.consumer).set(row.unacknowledged)
        metrics.dead.labels(row.inbox, row.consumer).set(row.dead)
    if free is not None:
        metrics.free.set(free.bytes)
        metrics.free_age.set(free.age_s)
