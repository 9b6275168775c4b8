"""The kit's side: an agent as docs/how-to/write-an-agent.md has it, which also writes down what it sees."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restante import Mailbox
from restante.client.errors import MailboxError, RefusedError

HISTORY = os.open(
    Path(os.environ["STATE_DIRECTORY"], "events.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o644
)
AGENTS, PREFIX = int(os.environ.get("DRILL_AGENTS", "1")), os.environ.get("DRILL_INBOX", "agent")
WORK_S = {"mail": 0.02, "slow": 2, "block": 50}
LOOK_S = 0.02  # how often the state of the connection is read


def say(what: str, **more: Any) -> None:
    event = {"at": time.monotonic(), "side": "kit", "who": "agent", "what": what, **more}
    os.write(HISTORY, f"{json.dumps(event)}\n".encode())


def number(subject: str) -> int:
    return int(subject.rpartition(" ")[2])


def watch(box: Mailbox, inbox: str) -> None:
    before = {"up": False, "store_away": 0}
    while True:
        health = box.health()
        now = {name: health.data[name] for name in before}
        for name, (no, yes) in {"up": ("down", "up"), "store_away": ("back", "away")}.items():
            if now[name] != before[name]:
                say(yes if now[name] else no, inbox=inbox, why=health.verdict)
        before = now
        time.sleep(LOOK_S)


def listen(inbox: str) -> None:
    """Whatever is signalled must be readable at that moment; a post office that does not answer then (unread) proves nothing."""
    box = Mailbox(inbox=inbox)

    def heard(signal: Mapping[str, Any]) -> None:
        told = {"inbox": inbox, "n": number(signal["subject"])}
        say("signal", **told)
        try:
            box.message(signal["id"])
        except RefusedError as error:
            say("unreadable", **told, why=str(error))
        else:
            say("read", **told)

    while True:
        try:
            box.listen(heard)
        except MailboxError as error:
            say("unread", inbox=inbox, why=str(error))
            time.sleep(1)


def work(inbox: str) -> None:
    box = Mailbox(inbox=inbox)
    threading.Thread(target=watch, args=(box, inbox), daemon=True).start()
    for delivery in box.consume():
        n = number(delivery.message.subject)
        message = delivery.message
        seen = {
            "attempt": delivery.attempt,
            "repeats": message.data["duplicate_of"],
            "epoch": message.cursor.partition(":")[0],
        }
        more = {"inbox": inbox, "n": n, **seen}
        say("handling", **more)
        with delivery:
            if delivery.message.subject.startswith("poison"):
                raise ValueError("an agent of the drill cannot stand this one")
            time.sleep(WORK_S[delivery.message.subject.split()[0]])
            say("handled", **more)


def main() -> None:
    inboxes = [f"{PREFIX}-{count + 1}" for count in range(AGENTS)]
    say("start", inbox=inboxes[0])
    threading.Thread(target=listen, args=(inboxes[0],), daemon=True).start()
    for inbox in inboxes[1:]:
        threading.Thread(target=work, args=(inbox,), daemon=True).start()
    work(inboxes[0])


if __name__ == "__main__":
    main()
