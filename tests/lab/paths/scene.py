"""The processes at both ends of the path: a post office, an agent with the SDK as it is shipped, and what the agent said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from network import inside, run

INBOX = "support@example.org"
LIMIT_S = 100
SERVE = f"""
import asyncio, signal, socket, sys
from pathlib import Path
from restante.server.app import running
from restante.server.settings import Inboxes, Server, Settings, StoreSettings
async def main():
    settings = Settings(server=Server(host="mx", domain="mail.example.org", data=Path(sys.argv[1])),
        store=StoreSettings(free_space_floor=0), inboxes=Inboxes(domains=("example.org",), predefined=("{INBOX}",)))
    sockets = {{name: [socket.create_server(("", port))] for name, port in (("http", 8025), ("smtp", 25))}}
    async with running(settings, sockets) as office:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, office.move)
        token = Path(sys.argv[1]) / "token"
        if not token.exists():
            token.write_text((await office.post.store.add_token("agent", admin=True, scopes={{}}))[0])
        print("serves", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
CONSUME = f"""
import json, sys, threading, time
from restante import Mailbox
box = Mailbox(sys.argv[1], inbox="{INBOX}", token=sys.argv[2])
telling = threading.Lock()
def tell(what, **more):
    own = dict(causes=dict(box.figures.reconnects), zombie_s=box.figures.zombie_s, rtt_s=box.figures.rtt_s, lag_s=box.figures.lag_s)
    with telling:
        print(json.dumps({{"what": what, "at": time.monotonic(), "channel": box.figures.channel, **own, **more}}), flush=True)
def watch():
    up, beat, ended = False, None, 0
    while True:
        if box._line.up != up:
            up = not up
            tell("up" if up else "down")
        if box.figures.reconnects["rotated"] != ended:
            ended = box.figures.reconnects["rotated"]
            tell("rotated")
        if box.figures.heartbeat_at != beat:
            beat = box.figures.heartbeat_at
            tell("beat")
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
for delivery in box.consume():
    with delivery:
        tell("handled", subject=delivery.message.subject, attempt=delivery.attempt)
"""
Event = dict[str, Any]


class Scene:
    """`url` is how the agent reaches the office; `environment` is the agent's."""

    def __init__(self, folder: Path, url: str, environment: Mapping[str, str]) -> None:
        self._folder, self.events, self.sent = folder, [], []
        self._moved = threading.Condition()
        self.office = self.serve()
        argv = [CONSUME, url, (folder / "token").read_text()]
        self.agent = _start("agent", *argv, environment={**os.environ, **environment})
        threading.Thread(target=self._listen, daemon=True).start()

    def serve(self) -> subprocess.Popen[str]:
        office = _start("office", SERVE, str(self._folder))
        assert office.stdout
        assert office.stdout.readline() == "serves\n"
        return office

    def _listen(self) -> None:
        assert self.agent.stdout
        for line in self.agent.stdout:
            with self._moved:
                self.events.append(json.loads(line))
                self._moved.notify_all()

    def until(self, what: str, after: float = 0.0, count: int = 1, **wanted: object) -> Event:
        """That such event after a time."""

        def found() -> list[Event]:
            return [e for e in self.events if e["what"] == what and e["at"] > after and wanted.items() <= e.items()]

        with self._moved:
            assert self._moved.wait_for(lambda: len(found()) >= count, LIMIT_S), (
                f"{what} {wanted} did not come: {self.events}"
            )
            return found()[count - 1]

    def send(self, subject: str) -> float:
        """When it was accepted, which is when it was committed."""
        code = f"import smtplib; smtplib.SMTP('127.0.0.1', 25).sendmail('a@x.invalid', ['{INBOX}'], 'Subject: {subject}\\r\\n\\r\\nhi')"
        run(*inside("office"), sys.executable, "-c", code)
        self.sent.append(subject)
        return time.monotonic()

    def handled(self, *subjects: str) -> list[Event]:
        return [self.until("handled", subject=subject) for subject in subjects]

    def story(self, **more: object) -> dict[str, object]:
        """What every story ends with."""
        handled = [event for event in self.events if event["what"] == "handled"]
        return {
            **more, "causes": self.events[-1]["causes"], "attempts": max(event["attempt"] for event in handled),
            "lost": len(set(self.sent) - {event["subject"] for event in handled}), "repeated": len(handled) - len(self.sent),
        }  # fmt: skip

    def end(self) -> None:
        for each in (self.agent, self.office):
            each.kill()
            each.wait()


def _start(
    space: str, code: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    argv = [*inside(space), sys.executable, "-c", code, *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
