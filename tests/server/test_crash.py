"""kill -9 at any moment: what was answered 250 is there, once. The MTA's part is played here: it keeps what had no 250, and retries."""

from __future__ import annotations

import os
import queue
import random
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from office import INBOX, Office, process

MAILS, KILLS = 300, 4


def hand_over(port: int, number: int) -> bool:
    """One LMTP transaction as Postfix has it; whether it was answered 250."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rwb") as file:
            file.readline()
            text = f"Subject: {number}\r\n\r\n{'x' * 5000}\r\n"
            for command in (
                "LHLO mx",
                f"XFORWARD IDENT=4Bq{number}",
                "MAIL FROM:<a@example.net>",
                f"RCPT TO:<{INBOX}>",
                "DATA",
                f"{text}.",
            ):
                file.write(f"{command}\r\n".encode())
                file.flush()
                while (reply := file.readline())[3:4] == b"-":
                    pass
                if not reply.startswith((b"2", b"3")):
                    return False
            return reply.startswith(b"250")
    except OSError:
        return False


class Queue:
    """The MTA's queue: a mail leaves it when it was answered 250, and not before."""

    def __init__(self) -> None:
        self.waiting = list(range(MAILS))
        self.answered: set[int] = set()
        self._moved = threading.Condition()

    def deliver(self, port: int) -> list[threading.Thread]:
        """Eight sessions, each until the first failure."""
        threads = [threading.Thread(target=self._session, args=(port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        return threads

    def _session(self, port: int) -> None:
        while True:
            with self._moved:
                if not self.waiting:
                    return
                number = self.waiting.pop()
            done = hand_over(port, number)
            with self._moved:
                (self.answered.add if done else self.waiting.append)(number)
                self._moved.notify_all()
            if not done:
                return

    def reached(self, number: int, threads: list[threading.Thread]) -> None:
        """Wait until so many were answered, or nobody is left to deliver."""
        with self._moved:
            self._moved.wait_for(
                lambda: len(self.answered) >= number or not any(each.is_alive() for each in threads), 30
            )


def everything(office: Office) -> Counter[str]:
    found: Counter[str] = Counter()
    while items := office.receive(max_messages=100)["items"]:
        found.update(item["message"]["subject"] for item in items)
        office.ack(*(item["receipt_handle"] for item in items))
    return found


def test_what_was_answered_250_survives_any_kill_and_is_there_once(tmp_path: Path) -> None:
    queue = Queue()
    for kill in range(KILLS):
        with process(tmp_path) as (server, office):
            threads = queue.deliver(office.lmtp_port)
            queue.reached(len(queue.answered) + random.Random(kill).randrange(20, MAILS // KILLS), threads)
            os.kill(server.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    with process(tmp_path) as (_, office):
        for thread in queue.deliver(office.lmtp_port):
            thread.join()
        found = everything(office)
    assert queue.answered == set(range(MAILS))
    assert found == Counter(str(number) for number in range(MAILS)), "lost, or there twice"


def test_a_kill_between_receive_and_ack_brings_the_mail_again(tmp_path: Path) -> None:
    with process(tmp_path) as (server, office):
        office.send("one", "two")
        handles = [item["receipt_handle"] for item in office.receive(visibility_timeout=1)["items"]]
        assert office.ack(handles[0]) == ["ok"]
        os.kill(server.pid, signal.SIGKILL)
    with process(tmp_path) as (_, office):
        again = office.receive(wait_seconds=10)["items"]
        assert [(item["message"]["subject"], item["attempt"]) for item in again] == [("two", 2)]
        assert office.ack(handles[1]) == ["expired"], "the lease of before the kill is not the one of now"


def test_a_kill_during_a_webhook_attempt_has_it_sent_again_under_the_same_name(tmp_path: Path) -> None:
    """The receiver has it, and its answer was never read: it must get it again, and can tell by webhook-id."""
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as receiver:

        def silent() -> socket.socket:
            connection, _ = receiver.accept()
            request = connection.recv(65536).decode()
            heard.put(next(line.split()[1] for line in request.splitlines() if line.startswith("webhook-id")))
            return connection

        receiver.settimeout(30)
        with process(tmp_path) as (server, office):
            url = f"http://127.0.0.1:{receiver.getsockname()[1]}/"
            assert office.call("POST", "/v1/webhooks", {"url": url, "inbox_ids": [INBOX]}).status == 201
            office.send("one")
            with silent():
                os.kill(server.pid, signal.SIGKILL)
        with process(tmp_path) as (_, office):
            silent().close()
            assert [item["message"]["subject"] for item in office.receive()["items"]] == ["one"]
    assert heard.get() == heard.get()


def test_a_kill_during_retention_removes_nothing_but_what_is_settled(tmp_path: Path) -> None:
    kept, gone = 50, 600
    with process(tmp_path) as (_, office):
        office.send(*map(str, range(gone + kept)))
        for _ in range(gone // 100):
            office.ack(*(item["receipt_handle"] for item in office.receive(max_messages=100)["items"]))
    with process(tmp_path, retention_s=0) as (server, _):
        until(tmp_path / "store.sqlite", "SELECT max(oldest) > 1 FROM inbox")
        os.kill(server.pid, signal.SIGKILL)
    with process(tmp_path, retention_s=0) as (_, office):
        until(tmp_path / "store.sqlite", f"SELECT max(oldest) = {gone + 1} FROM inbox")
        assert everything(office) == Counter(str(number) for number in range(gone, gone + kept))
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as store:
        sizes = "SELECT (SELECT sum(length(raw)) FROM body), (SELECT sum(size) FROM message), (SELECT sum(used_bytes) FROM inbox)"
        bodies, messages, used = store.execute(sizes).fetchone()
        assert bodies == messages == used


def until(path: Path, question: str) -> None:
    deadline = time.monotonic() + 30
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        while store.execute(question).fetchone() != (1,):
            assert time.monotonic() < deadline, question
