"""What the post office itself holds, asked at its host's own console."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from restante.drills.fleet import INBOXES, sh
from restante.errors import FoundError
from restante.lab.host import Host
from restante.lab.system import await_true

READY_S = 90
_MESSAGE_ID = re.compile(r"(?P<id>\w+): message-id=<(?P<n>\d+)@sender\.example>")
_SOCKET = "curl -fsS --max-time 20 --unix-socket /run/restante/admin.sock"


def ask(host: Host, path: str, body: Any = None, method: str = "GET") -> Any:
    """The API over the host's own socket, where no token is needed."""
    more = f" -X {method} -H 'Content-Type: application/json' -d '{json.dumps(body)}'" if body is not None else ""
    return json.loads(sh(host, f"{_SOCKET}{more} 'http://localhost/v1{path}'"))


def ready(host: Host) -> None:
    """The post office and its store answer, and Postfix takes mail."""
    script = f"{_SOCKET} -o /dev/null http://localhost/readyz && ss -Hltn sport = :25 | grep -q 25"
    if not await_true(lambda: host.exec(["sh", "-c", script]).returncode == 0, READY_S):
        raise FoundError(f"drill: the post office on {host.name} was not ready within {READY_S} s")


def dead(host: Host, agents: int) -> list[int]:
    """Numbers of the mails that no attempt could handle."""
    return [event["n"] for event in _dead(host, agents)]


def found(host: Host, agents: int) -> Iterator[dict[str, Any]]:
    """Events: each mail stored, acknowledged where nothing of its inbox waits any more, dead; and what the ledger cannot find."""
    buried = list(_dead(host, agents))
    yield from buried
    yield from ({"what": "named", "n": n} for n in sorted(named(host)))
    for inbox in INBOXES[:agents]:
        gone = {event["n"] for event in buried}
        idle = _idle(host, inbox)
        for message in ask(host, f"/inboxes/{inbox}@drill.example/messages?limit=1000")["items"]:
            n = int(message["subject"].split()[-1])
            yield {"what": "stored", "n": n, "inbox": inbox}
            if idle and n not in gone:
                yield {"what": "acknowledged", "n": n, "inbox": inbox}


def named(host: Host) -> set[int]:
    """Mails that the ledger says no commit holds, by the Message-ID that their senders gave them."""
    report = host.exec(["restante", "ledger", "--json"])
    gone = {line.partition(":")[0] for line in json.loads(report.stdout)["unexplained_mails"]}
    log = sh(host, "journalctl --no-pager -o cat -t postfix/cleanup") if gone else ""
    entries = filter(None, map(_MESSAGE_ID.search, log.splitlines()))
    return {int(entry["n"]) for entry in entries if entry["id"] in gone}


def _idle(host: Host, inbox: str) -> bool:
    consumers = ask(host, f"/inboxes/{inbox}@drill.example/consumers")["items"]
    return bool(consumers) and all(
        not each["in_flight"] and not each["waiting"] and not each["new"] for each in consumers
    )


def _dead(host: Host, agents: int) -> Iterator[dict[str, Any]]:
    for inbox in INBOXES[:agents]:
        for letter in ask(host, f"/inboxes/{inbox}@drill.example/dead-letters?limit=1000")["items"]:
            yield {"what": "dead", "n": int(letter["message"]["subject"].split()[-1]), "inbox": inbox}
