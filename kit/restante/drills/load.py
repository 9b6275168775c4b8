"""The senders: numbered mails over real SMTP to every side at once, tried again until they are taken, as any mail server does.

Runs where the hosts are reached. Arguments: the domain of the inboxes; a word that no other run has, for the Message-IDs; one JSON object,
side -> [[address, port], ...], which are tried in turn. Standard input: one JSON object a line with `n`, `inbox` and `subject`. Standard
output: events. After the last line it goes on trying for GRACE_S.
"""

from __future__ import annotations

import json
import smtplib
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

GRACE_S = 60.0
AGAIN_S = 1.0
PATIENCE_S = 5.0  # for each answer; a real sender waits for minutes and tries again after minutes
AT_ONCE = 20  # connections to one side; they are kept, as a mail server keeps them: Postfix counts new ones
_lock = threading.Lock()
_over = threading.Event()


def say(side: str, what: str, n: int, **more: Any) -> None:
    with _lock:
        event = {"at": time.monotonic(), "side": side, "who": "load", "what": what, "n": n, **more}
        print(json.dumps(event), flush=True)


class Sender(threading.local):
    """The connection of one thread to its side; `smtp` is None until it is needed, `tried` counts what was opened."""

    smtp: smtplib.SMTP | None = None
    tried = 0

    def __init__(self, servers: Sequence[tuple[str, int]], domain: str, run: str) -> None:
        self._servers, self._domain, self._run = servers, domain, run

    def attempt(self, mail: dict[str, Any]) -> str:
        """accepted, unknown, or why it was not taken."""
        handed = False
        try:
            self.smtp = smtp = self.smtp or self._connected()
            sender, recipient = "customer@sender.example", f"{mail['inbox']}@{self._domain}"
            message_id = f"<{mail['n']}.{self._run}@sender.example>"
            for code, text in (smtp.mail(sender), smtp.rcpt(recipient)):
                if code != 250:
                    return self._over(f"{code} {text.decode(errors='replace')}")
            head = f"From: {sender}\r\nTo: {recipient}\r\nSubject: {mail['subject']}\r\nMessage-ID: {message_id}\r\n"
            handed = True
            code, text = smtp.data(f"{head}\r\nHelp!\r\n")
            return "accepted" if code == 250 else self._over(f"{code} {text.decode(errors='replace')}")
        except (OSError, smtplib.SMTPException) as error:
            return self._over("unknown" if handed else f"{type(error).__name__}: {error}")

    def _over(self, why: str) -> str:
        """A connection that brought no 250 is not used again."""
        if self.smtp:
            self.smtp.close()
        self.smtp = None
        return why

    def _connected(self) -> smtplib.SMTP:
        address, port = self._servers[self.tried % len(self._servers)]
        self.tried += 1
        smtp = smtplib.SMTP(address, port, local_hostname="sender.example", timeout=PATIENCE_S)
        smtp.ehlo()
        return smtp


SENDERS: dict[str, Sender] = {}


def send(side: str, mail: dict[str, Any]) -> None:
    n, what, why = mail["n"], "sent", ""
    known = {"inbox": mail["inbox"], "kind": mail["subject"].split()[0]}
    while not _over.is_set():
        say(side, what, n, **known, **({"why": why} if why else {}))
        why = SENDERS[side].attempt(mail)
        if why == "accepted":
            say(side, "accepted", n)
            return
        if why == "unknown":
            say(side, "unknown", n)
        what = "again"
        _over.wait(AGAIN_S)
    say(side, "refused", n, why=why)


def main(domain: str, run: str, targets: str) -> None:
    sides: dict[str, list[tuple[str, int]]] = json.loads(targets)
    SENDERS.update({side: Sender(servers, domain, run) for side, servers in sides.items()})
    pools = {side: ThreadPoolExecutor(AT_ONCE) for side in sides}
    for line in sys.stdin:
        mail = json.loads(line)
        for side, pool in pools.items():
            pool.submit(send, side, mail)
    enough = threading.Timer(GRACE_S, _over.set)
    enough.daemon = True
    enough.start()
    for pool in pools.values():
        pool.shutdown()
    _over.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
