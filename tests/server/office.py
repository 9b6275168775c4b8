"""A post office on loopback for a test: the real server with real sockets, in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from restante.server.app import PostOffice, running
from restante.server.push import webhook
from restante.server.settings import Inboxes, Server, Settings, StoreSettings, Webhooks

INBOX, OTHER = "support@example.org", "sales@example.org"
DOMAIN = "example.org"


def settings(folder: Path, **sections: Any) -> Settings:
    return Settings(
        server=Server(host="mx", domain="mail.example.org", data=folder),
        **{
            "store": StoreSettings(free_space_floor=0),
            "inboxes": Inboxes(domains=(DOMAIN,), predefined=(INBOX, OTHER)),
            "webhooks": Webhooks(https_only=False),
            **sections,
        },
    )


@contextmanager
def process(
    folder: Path, *before: str, retention_s: int = 30 * 86_400
) -> Iterator[tuple[subprocess.Popen[str], Office]]:
    """The same as a process of its own, to be killed. `before`: a command that runs it, such as strace."""
    argv = [*before, sys.executable, __file__, str(folder), str(retention_s)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as made:
        try:
            assert made.stdout
            ports = json.loads(made.stdout.readline())
            yield made, Office(None, None, **ports)  # type: ignore[arg-type] # its insides are elsewhere
        finally:
            made.kill()


async def _serve(folder: Path, retention_s: int) -> None:
    webhook.TIMEOUT_S = 1  # whoever kills it waits for the end of its claims
    sections: dict[str, Any] = {
        "inboxes": Inboxes(domains=(DOMAIN,), predefined=(INBOX, OTHER), retention_s=retention_s),
        "webhooks": Webhooks(allow=(ipaddress.IPv4Network("127.0.0.0/8"),), https_only=False),
    }
    sockets = {name: [socket.create_server(("127.0.0.1", 0))] for name in ("http", "smtp", "lmtp")}
    async with running(settings(folder, **sections), sockets) as office:
        token = (await office.post.store.add_token("test", admin=True, scopes={}))[0]
        ports = {f"{name}_port": found[0].getsockname()[1] for name, found in sockets.items()}
        print(json.dumps({**ports, "token": token}), flush=True)
        await asyncio.Event().wait()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


@dataclass(frozen=True)
class Office:
    """How a test speaks to the server. `as_` gives the same with another token."""

    office: PostOffice
    loop: asyncio.AbstractEventLoop
    http_port: int
    smtp_port: int
    lmtp_port: int
    token: str

    def as_(self, token: str) -> Office:
        return replace(self, token=token)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=40)
        given = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = body if isinstance(body, bytes | None) else json.dumps(body)
        connection.request(method, path, content, {**given, "Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        found = Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())
        connection.close()
        return found

    def receive(self, inbox: str = INBOX, **body: Any) -> Any:
        found = self.call("POST", f"/v1/inboxes/{inbox}/receive", body)
        assert found.status == 200, found.raw
        return found.json

    def ack(self, *handles: str, inbox: str = INBOX, verb: str = "ack", **more: Any) -> list[str]:
        found = self.call("POST", f"/v1/inboxes/{inbox}/{verb}", {"receipt_handles": list(handles), **more})
        assert found.status == 200, found.raw
        return [each["result"] for each in found.json["results"]]

    def make_token(self, scopes: dict[str, list[str]], *, admin: bool = False) -> str:
        return str(self.call("POST", "/v1/tokens", {"name": "test", "scopes": scopes, "admin": admin}).json["token"])

    def send(self, *subjects: str, to: str = INBOX, text: str = "hello") -> None:
        """Over SMTP; returns when all are committed."""
        with smtplib.SMTP("127.0.0.1", self.smtp_port) as smtp:
            for subject in subjects:
                smtp.sendmail("a@example.net", [to], f"From: A <a@example.net>\r\nSubject: {subject}\r\n\r\n{text}\r\n")

    def run(self, work: Any) -> Any:
        """A coroutine on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@contextmanager
def serving(configuration: Settings, **more: list[socket.socket]) -> Iterator[Office]:
    """`more`: listening sockets beside the usual ones, by their name."""
    sockets = {name: [socket.create_server(("127.0.0.1", 0))] for name in ("http", "smtp", "lmtp")}
    ports = [found[0].getsockname()[1] for found in sockets.values()]
    sockets |= more
    started, stop, box = threading.Event(), threading.Event(), []

    async def main() -> None:
        async with running(configuration, sockets) as office:
            token = (await office.post.store.add_token("test", admin=True, scopes={}))[0]
            box.append(Office(office, asyncio.get_running_loop(), *ports, token))
            started.set()
            await asyncio.to_thread(stop.wait)

    def target() -> None:
        try:
            uvloop.run(main())
        except BaseException as error:
            box.append(error)
            started.set()
            raise

    thread = threading.Thread(target=target)
    thread.start()
    started.wait(30)
    try:
        if isinstance(box[0], BaseException):
            raise box[0]
        yield box[0]
    finally:
        stop.set()
        thread.join(60)


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
