"""Runs on a post host, over its admin socket, with the host's own Python: an agent that drains an inbox, or listens to it."""

from __future__ import annotations

import http.client
import json
import socket
import sys  # noqa: F401 - for the line that a test puts behind this
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ENOUGH = Path("/run/enough")


class Admin(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect("/run/restante/admin.sock")


def call(method: str, path: str, body: str = "", connection: Admin | None = None) -> tuple[int, Any]:
    made = connection or Admin("localhost", timeout=60)
    made.request(method, path, body or None, {"Content-Type": "application/json"})
    answer = made.getresponse()
    return answer.status, json.loads(answer.read() or b"null")


def drain(inbox: str) -> None:
    """Print and acknowledge all there is."""
    admin, path = Admin("localhost", timeout=60), f"/v1/inboxes/{inbox}"
    while True:
        status, found = call("POST", f"{path}/receive", json.dumps({"max_messages": 100}), admin)
        assert status == 200, found
        if not found["items"]:
            return
        for item in found["items"]:
            print(json.dumps({key: item["message"][key] for key in ("subject", "duplicate_of", "message_id")}))
        handles = [item["receipt_handle"] for item in found["items"]]
        status, found = call("POST", f"{path}/ack", json.dumps({"receipt_handles": handles}), admin)
        assert {each["result"] for each in found["results"]} == {"ok"}, found


def listen(inbox: str) -> None:
    """Ask for each message at the moment of its signal, and print the answer, until /run/enough is there."""
    position, said = "", False
    while not ENOUGH.exists():
        try:
            stream = Admin("localhost", timeout=2)
            stream.request(
                "GET", f"/v1/inboxes/{inbox}/stream", headers={"Last-Event-ID": position} if position else {}
            )
            answer = stream.getresponse()
            if not said:
                print("listening")
            said = True
            for number, signal in signals(answer):
                ask(inbox, signal)
                position = number
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)


def signals(lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, str]]]:
    """Of an event stream, each with its id."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, text = line.decode().rstrip().partition(": ")
        if name:
            fields[name] = text
            continue
        if fields.get("event") == "signal":
            yield fields["id"], json.loads(fields["data"])
        fields = {}


def ask(inbox: str, signal: dict[str, str]) -> None:
    while True:
        try:
            status, _ = call("GET", f"/v1/inboxes/{inbox}/messages/{signal['id']}")
        except (OSError, http.client.HTTPException):
            status = 503
        if status != 503:
            print(status, signal["subject"])
            return
        time.sleep(0.1)
