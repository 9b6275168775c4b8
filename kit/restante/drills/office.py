"""What the post office itself holds, asked at its host's own console. Inboxes are full addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from restante.drills.console import Console, sh
from restante.errors import FoundError
from restante.lab.system import await_true

READY_S = 90
PAGE = 1000  # the most that the API gives at once
# Python is there with the post office, curl need not be.
_ASK = """
import http.client, json, socket, sys
class Admin(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect("/run/restante/admin.sock")
method, path, body = sys.argv[1:]
admin = Admin("localhost")
admin.request(method, path, body or None, {"Content-Type": "application/json"})
answer = admin.getresponse()
text = answer.read().decode()
if answer.status >= 400:
    sys.exit(json.loads(text).get("error", {}).get("message", text) if text.startswith("{") else f"it answers {answer.status}")
print(text)
"""
_LISTENS = "ss -Hltn sport = :25 | grep -q 25"


def ask(host: Console, path: str, body: Any = None, method: str = "GET") -> Any:
    """The API over the host's own socket, where no token is needed. Raises FoundError with its sentence."""
    done = _ask(host, method, f"/v1{path}", "" if body is None else json.dumps(body))
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise FoundError(f"drill: the post office on {host.name} did not do {method} {path}: {why}")
    return json.loads(done.stdout)


def listed(host: Console, path: str) -> Iterator[dict[str, Any]]:
    """All items of a list, page after page: an hour's mail is more than one."""
    cursor = ""
    while True:
        page = ask(host, f"{path}?limit={PAGE}{cursor}")
        yield from page["items"]
        if not page["next_cursor"]:
            return
        cursor = f"&cursor={page['next_cursor']}"


def _ask(host: Console, *words: str) -> Any:
    return host.exec(["python3", "-c", _ASK, *words])


def ready(host: Console) -> None:
    """The post office and its store answer, and Postfix takes mail."""

    def answers() -> bool:
        return not _ask(host, "GET", "/readyz", "").returncode and not host.exec(["sh", "-c", _LISTENS]).returncode

    if not await_true(answers, READY_S):
        raise FoundError(f"drill: the post office on {host.name} was not ready within {READY_S} s")


def dead(host: Console, inboxes: Sequence[str]) -> list[int]:
    """Numbers of the mails that no attempt could handle."""
    return [event["n"] for event in _dead(host, inboxes)]


def found(hosts: Sequence[Console], inboxes: Sequence[str], run: str) -> Iterator[dict[str, Any]]:
    """Events: each mail stored, acknowledged where nothing of its inbox waits any more, dead; and what a ledger cannot find."""
    host = hosts[0]
    buried = list(_dead(host, inboxes))
    yield from buried
    yield from ({"what": "named", "n": n} for n in sorted(set().union(*(named(each, run) for each in hosts))))
    for inbox in inboxes:
        gone = {event["n"] for event in buried}
        idle = _idle(host, inbox)
        for message in listed(host, f"/inboxes/{inbox}/messages"):
            n = int(message["subject"].split()[-1])
            yield {"what": "stored", "n": n, "inbox": local(inbox)}
            if idle and n not in gone:
                yield {"what": "acknowledged", "n": n, "inbox": local(inbox)}


def named(host: Console, run: str) -> set[int]:
    """Mails of a run that the ledger says no commit holds, by the Message-ID that their senders gave them."""
    report = host.exec(["restante", "ledger", "--json"])
    if not report.stdout:
        raise FoundError(f"drill: {host.name}: its ledger could not be asked: {report.stderr.strip()}")
    gone = {line.partition(":")[0] for line in json.loads(report.stdout)["unexplained_mails"]}
    log = sh(host, "journalctl --no-pager -o cat -t postfix/cleanup") if gone else ""
    message_id = re.compile(rf"(?P<id>\w+): message-id=<(?P<n>\d+)\.{re.escape(run)}@sender\.example>")
    entries = filter(None, map(message_id.search, log.splitlines()))
    return {int(entry["n"]) for entry in entries if entry["id"] in gone}


def queued(host: Console, run: str) -> int:
    """How many mails of a run wait in Postfix's queue, which is asked to try them now."""
    return len(sh(host, f"postqueue -f; postqueue -j | grep -F {run}- || true").splitlines())


def local(inbox: str) -> str:
    return inbox.partition("@")[0]


def _idle(host: Console, inbox: str) -> bool:
    consumers = ask(host, f"/inboxes/{inbox}/consumers")["items"]
    return bool(consumers) and all(
        not each["in_flight"] and not each["waiting"] and not each["new"] for each in consumers
    )


def _dead(host: Console, inboxes: Sequence[str]) -> Iterator[dict[str, Any]]:
    for inbox in inboxes:
        for letter in listed(host, f"/inboxes/{inbox}/dead-letters"):
            yield {"what": "dead", "n": int(letter["message"]["subject"].split()[-1]), "inbox": local(inbox)}
