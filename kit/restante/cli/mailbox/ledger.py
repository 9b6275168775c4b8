"""`restante ledger`: every mail that Postfix took must be in its queue or in the store, and every stored one has a state."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import click

from restante.cli.mailbox.client import Client, connected, path, show
from restante.cli.options import json_option
from restante.errors import FoundError

CHUNK = 1000
# postfix/lmtp[12]: 4XyZ...: to=<a@b>, relay=..., status=sent (250 2.0.0 ...)
_DELIVERY = re.compile(r"(?P<id>[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}): to=<(?P<to>[^>]*)>.* status=(?P<status>\w+)")
_TAKEN = re.compile(r"(?P<id>[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}): from=<[^>]*>, size=\d+, nrcpt=(?P<nrcpt>\d+)")
_GONE = re.compile(r"(?P<id>[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}): removed")


@dataclass
class Mta:
    """What Postfix's log and queue say, by queue id: recipients taken, recipients handed over, whether it was removed.

    `too_old` counts mails that nobody could know any more.
    """

    taken: dict[str, int] = field(default_factory=dict)
    sent: dict[str, set[str]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    queued: set[str] = field(default_factory=set)
    too_old: int = 0


def read_log(lines: Iterable[str], since: float = 0.0) -> Mta:
    """Lines as `journalctl -o short-unix` has them. Only transactions that the log shows from their start, which was at `since` or
    later, are judged.
    """
    found = Mta()
    for line in lines:
        if match := _TAKEN.search(line):
            if float(line.partition(" ")[0]) < since:
                found.too_old += 1
                continue
            found.taken.setdefault(match["id"], int(match["nrcpt"]))
        elif match := _DELIVERY.search(line):
            if match["status"] == "sent":
                found.sent.setdefault(match["id"], set()).add(match["to"])
        elif match := _GONE.search(line):
            found.removed.add(match["id"])
    return found


def unexplained(mta: Mta, unknown: set[str]) -> Iterator[str]:
    """`unknown`: queue ids that were handed over, and that no commit holds."""
    for queue_id, expected in mta.taken.items():
        sent = len(mta.sent.get(queue_id, ()))
        if queue_id in unknown:
            yield f"{queue_id}: Postfix was told 250, and no commit holds it"
        elif queue_id in mta.removed and sent < expected:
            yield f"{queue_id}: removed from the queue with {sent} of {expected} recipients handed over"
        elif queue_id not in mta.removed and queue_id not in mta.queued:
            yield f"{queue_id}: neither in the queue nor handed over"


@click.command("ledger")
@click.option(
    "--since", default="today", show_default=True, help="How far back to read Postfix's log, as journalctl takes it."
)
@json_option
@connected
def command(client: Client, since: str, as_json: bool) -> None:
    """Account for every mail, from Postfix to its acknowledgement. On a post host; elsewhere the store's part alone.

    Exit status 1 if anything is unexplained.
    """
    totals = client.call("GET", path("ledger"))
    mta = _postfix(since, totals["known_since"])
    lost = list(unexplained(mta, _unknown(client, mta)))
    found = {
        "received": sum(mta.taken.values()) if mta.taken else None, "deferred_at_mta": len(mta.queued), "stored": totals["stored"],
        "ready": totals["ready"], "leased": totals["leased"], "acked": totals["acked"], "dead": totals["dead"], "unexplained": len(lost),
    }  # fmt: skip
    show(
        {**found, "unexplained_mails": lost, "left_out": mta.too_old},
        as_json,
        lambda _: [
            *(f"{name:<16} {'-' if value is None else value}" for name, value in found.items()),
            *_left_out(mta),
            *lost,
        ],
    )
    raise click.exceptions.Exit(1 if lost else 0)


def _left_out(mta: Mta) -> list[str]:
    return [f"left out: {mta.too_old} mails, taken before the post office's memory of queue ids"] if mta.too_old else []


def _postfix(since: str, known_since: float) -> Mta:
    """The log is read before the queue, for what is judged, and after it: a mail may go from one to the other meanwhile."""
    if not shutil.which("postqueue"):
        return Mta()
    first = read_log(_log(since), known_since)
    queue = subprocess.run(["postqueue", "-j"], capture_output=True, text=True, check=False)
    entries: list[Any] = [json.loads(line) for line in queue.stdout.splitlines() if line.startswith("{")]
    found = read_log(_log(since), known_since)
    found.taken, found.queued = first.taken, {entry["queue_id"] for entry in entries}
    return found


def _log(since: str) -> list[str]:
    programs = [word for name in ("qmgr", "lmtp", "pipe", "error") for word in ("-t", f"postfix/{name}")]
    log = subprocess.run(
        ["journalctl", "--no-pager", "-o", "short-unix", "--since", since, *programs],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if log.returncode:
        raise FoundError(f"Postfix's log could not be read: {log.stderr.strip()}; run this as root")
    return log.stdout.splitlines()


def _unknown(client: Client, mta: Mta) -> set[str]:
    sent = [queue_id for queue_id in mta.taken if queue_id in mta.sent]
    unknown: set[str] = set()
    for start in range(0, len(sent), CHUNK):
        body = {"queue_ids": sent[start : start + CHUNK]}
        unknown |= set(client.call("POST", path("ledger", "unknown"), body)["unknown"])
    return unknown
