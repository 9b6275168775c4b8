"""Stands in for the post office where Postfix is tried alone: takes LMTP on the socket it is given, keeps mail as files.

It runs as restante.server.__main__ on the lab host, under the unit that the kit renders. `/var/lib/restante/post/refuse`,
when it is there, holds the reply to every mail.
"""

from __future__ import annotations

import os
import socket
import socketserver
import sqlite3
import threading
import time
import tomllib
from pathlib import Path

CONFIG = "/etc/restante/restante.toml"


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.say("220 stub")
        while line := self.rfile.readline():
            words = line.decode().split()
            verb = words[0].upper() if words else ""
            if verb == "LHLO":
                self.say(
                    "250-stub\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 XFORWARD NAME ADDR PROTO HELO IDENT"
                )
            elif verb == "DATA":
                self.data()
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.recipients = 0 if verb == "MAIL" else getattr(self, "recipients", 0) + (verb == "RCPT")
                self.forwarded = " ".join(words[1:]) if verb == "XFORWARD" else getattr(self, "forwarded", "")
                self.say("250 ok")

    def data(self) -> None:
        self.say("354 go")
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line)
        refusal = STATE / "refuse"
        reply = refusal.read_text().strip() if refusal.exists() else "250 kept"
        if reply.startswith("250"):
            (STATE / f"{time.time_ns()}.eml").write_bytes(
                f"X-Forwarded: {self.forwarded}\r\n".encode() + b"".join(lines)
            )
        for _ in range(self.recipients):
            self.say(reply)

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket) -> None:
        super().__init__("", Session, bind_and_activate=False)
        self.socket.close()
        self.socket = listening


def fill(config: dict[str, dict[str, object]]) -> None:
    """The map that Postfix asks at RCPT."""
    with sqlite3.connect(str(config["postfix"]["recipients"])) as database:
        database.executescript(
            "PRAGMA journal_mode=DELETE; CREATE TABLE IF NOT EXISTS recipient(address TEXT PRIMARY KEY, reply TEXT);"
            "CREATE TABLE IF NOT EXISTS state(reply TEXT);"
        )
        rows = [(address, "OK") for address in config["inboxes"]["predefined"]]  # type: ignore[attr-defined]
        database.executemany("INSERT OR IGNORE INTO recipient VALUES (?, ?)", rows)


def hang_up(listening: socket.socket) -> None:
    while True:
        listening.accept()[0].close()


def notify(text: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
        told.send(text.encode())


def run() -> None:
    config = tomllib.loads(Path(CONFIG).read_text())
    fill(config)
    names = os.environ["LISTEN_FDNAMES"].split(":")
    server = Server(socket.socket(fileno=3 + names.index("lmtp")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Whoever waits on a socket would start the unit again when it is stopped.
    for number in (3 + index for index, name in enumerate(names) if name == "http"):
        threading.Thread(target=hang_up, args=(socket.socket(fileno=number),), daemon=True).start()
    notify("READY=1")
    while True:
        notify("WATCHDOG=1")
        time.sleep(5)


STATE = Path("/var/lib/restante/post")
