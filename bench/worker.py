"""Who empties mailboxes: ours by receive and ack over HTTP, Dovecot's by fetch and flag over IMAP. Each on one connection."""

from __future__ import annotations

import http.client
import imaplib
import json
import os
import time
from collections.abc import Callable
from typing import Any

from bench.dovecot import PASSWORD
from bench.office import Running

BATCH = 100


class Worker:
    def __init__(self, where: Running, inbox: str) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", where.http)
        self._headers, self._path = where.headers, f"/v1/inboxes/{inbox}"

    def call(self, verb: str, body: object) -> dict[str, Any]:
        self._http.request("POST", f"{self._path}/{verb}", json.dumps(body), self._headers)
        answer = self._http.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{verb} was answered {answer.status}: {text.decode()}")
        return json.loads(text)  # type: ignore[no-any-return]

    def drain(self, limit: int, size: int = BATCH) -> int:
        """Each receive acknowledges the batch before it, the last one by itself."""
        done, batch = 0, None
        while done < limit:
            found = self.call("receive", {"max_messages": size, **({"ack_batch": batch} if batch else {})})
            batch = found["batch"]
            if not batch:
                return done
            handles = [each["receipt_handle"] for each in found["items"]]
            done += len(handles)
        if batch:
            self.call("ack", {"receipt_handles": handles})
        return done


def drain_imap(port: int, user: str, first: int, last: int) -> int:
    client = imaplib.IMAP4("127.0.0.1", port)
    client.login(user, PASSWORD)
    client.select()
    for start in range(first, last + 1, BATCH):
        batch = f"{start}:{min(start + BATCH - 1, last)}"
        client.fetch(batch, "(BODY.PEEK[])")
        client.store(batch, "+FLAGS.SILENT", r"(\Seen)")
    client.logout()
    return last - first + 1


def together(work: list[Callable[[], int]]) -> float:
    """Messages a second. Each worker is a process: one for all would be the limit itself."""
    start = time.perf_counter()
    children = [_child(each) for each in work]
    done = sum(int.from_bytes(_said(*each), "little") for each in children)
    return done / (time.perf_counter() - start)


def _child(work: Callable[[], int]) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writing, work().to_bytes(8, "little"))
        finally:
            os._exit(0)
    os.close(writing)
    return pid, reading


def _said(pid: int, reading: int) -> bytes:
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    if not said:
        raise SystemExit("a worker failed")
    return said
