"""Runs inside namespaces of its own, as root: an agent, a NAT router, a post office; a fault; what was seen, as one JSON line.

unshare --mount --net --pid --fork --mount-proc --kill-child python path_scenario.py FAULT
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

AGENT, INSIDE, OUTSIDE, OFFICE = "198.51.100.2", "198.51.100.1", "203.0.113.1", "203.0.113.2"
INBOX = "support@example.org"
LIMIT_S = 150
# Shorter than a heartbeat's interval, so that the router forgets a flow that is in use.
FORGETS_S = 10
NAT = """
table inet nat {{
  chain post {{ type nat hook postrouting priority srcnat; oifname "up0" masquerade; }}
  chain forw {{ type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifname "dn0" tcp flags & (fin|syn|rst|ack) == syn ct state new accept
  }}
  chain inp {{ type filter hook input priority filter; policy {inp}; ct state established,related accept; }}
}}
"""
DROP = "table inet fault {{ chain forw {{ type filter hook forward priority -10; {rule} drop; }}; }}"
RULES = {
    "silence": "meta l4proto tcp",
    "one-way-up": 'iifname "dn0" meta l4proto tcp',
    "one-way-down": 'iifname "up0" meta l4proto tcp',
}
SERVE = f"""
import asyncio, socket, sys
from pathlib import Path
from restante.server.app import running
from restante.server.settings import Inboxes, Server, Settings, StoreSettings
async def main():
    settings = Settings(server=Server(host="mx", domain="mail.example.org", data=Path(sys.argv[1])),
        store=StoreSettings(free_space_floor=0), inboxes=Inboxes(domains=("example.org",), predefined=("{INBOX}",)))
    sockets = {{name: [socket.create_server(("", port))] for name, port in (("http", 8025), ("smtp", 25))}}
    async with running(settings, sockets) as office:
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
box = Mailbox("http://{OFFICE}:8025", inbox="{INBOX}", token=sys.argv[1])
def tell(what, **more): print(json.dumps({{"what": what, "at": time.monotonic(), **more}}), flush=True)
def watch():
    up = False
    while True:
        if box._line.up != up:
            up = not up
            tell("up" if up else "down", causes=dict(box.figures.reconnects), zombie_s=box.figures.zombie_s)
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
for delivery in box.consume():
    with delivery:
        tell("handled", subject=delivery.message.subject, attempt=delivery.attempt)
"""


def run(*argv: str, stdin: str = "") -> None:
    subprocess.run(argv, input=stdin, text=True, check=True, capture_output=True)


def lay_out(fault: str) -> None:
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for name in ("agent", "nat", "office"):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    for near, far, link, peer, address, gateway in (
        ("agent", "nat", "eth0", "dn0", AGENT, INSIDE), ("office", "nat", "eth0", "up0", OFFICE, OUTSIDE),
    ):  # fmt: skip
        run("ip", "-n", near, "link", "add", link, "type", "veth", "peer", "name", peer, "netns", far)
        for space, device, own in ((near, link, address), (far, peer, gateway)):
            run("ip", "-n", space, "addr", "add", f"{own}/30", "dev", device)
            run("ip", "-n", space, "link", "set", device, "up")
        run("ip", "-n", near, "route", "add", "default", "via", gateway)
    inp = "accept" if fault == "nat-reset" else "drop"
    run("ip", "netns", "exec", "nat", "nft", "-f", "-", stdin=NAT.format(inp=inp))
    settings = {"net.ipv4.ip_forward": 1, "net.netfilter.nf_conntrack_tcp_loose": 0}
    if fault.startswith("nat-"):
        settings["net.netfilter.nf_conntrack_tcp_timeout_established"] = FORGETS_S
    for key, value in settings.items():
        run("ip", "netns", "exec", "nat", "sysctl", "-qw", f"{key}={value}")


class Scene:
    """The processes, and what the agent said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events = folder, []
        self._moved = threading.Condition()
        self.office = self.serve()
        self.agent = self._start("agent", CONSUME, (folder / "token").read_text())
        threading.Thread(target=self._listen, daemon=True).start()

    def serve(self) -> subprocess.Popen[str]:
        office = self._start("office", SERVE, str(self.folder))
        assert office.stdout
        assert office.stdout.readline() == "serves\n"
        return office

    def _start(self, space: str, code: str, argument: str) -> subprocess.Popen[str]:
        argv = ["ip", "netns", "exec", space, sys.executable, "-c", code, argument]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def _listen(self) -> None:
        assert self.agent.stdout
        for line in self.agent.stdout:
            with self._moved:
                self.events.append(json.loads(line))
                self._moved.notify_all()

    def until(self, what: str, after: float = 0.0, **wanted: object) -> dict[str, object]:
        """The first such event after a time."""

        def found() -> dict[str, object] | None:
            return next(
                (e for e in self.events if e["what"] == what and e["at"] > after and wanted.items() <= e.items()), None
            )

        with self._moved:
            assert self._moved.wait_for(found, LIMIT_S), f"{what} {wanted} did not come: {self.events}"
            event = found()
            assert event
            return event

    def send(self, subject: str) -> None:
        code = f"import smtplib; smtplib.SMTP('127.0.0.1', 25).sendmail('a@x.invalid', ['{INBOX}'], 'Subject: {subject}\\r\\n\\r\\nhi')"
        run("ip", "netns", "exec", "office", sys.executable, "-c", code)


@contextlib.contextmanager
def disturbed(scene: Scene, fault: str):  # type: ignore[no-untyped-def]
    """The fault, for as long as the block runs. A router that forgets needs nothing but time."""
    if fault in RULES:
        run("ip", "netns", "exec", "nat", "nft", "-f", "-", stdin=DROP.format(rule=RULES[fault]))
    elif fault == "office-stopped":
        scene.office.send_signal(signal.SIGSTOP)
    elif fault == "office-killed":
        scene.office.kill()
        scene.office.wait()
    yield
    if fault in RULES:
        run("ip", "netns", "exec", "nat", "nft", "delete", "table", "inet", "fault")
    elif fault == "office-stopped":
        scene.office.send_signal(signal.SIGCONT)
    elif fault == "office-killed":
        scene.office = scene.serve()


def main(fault: str) -> None:
    lay_out(fault)
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        scene.until("up")
        scene.send("before")
        scene.until("handled", subject="before")
        begun = time.monotonic()
        with disturbed(scene, fault):
            if not fault.startswith("office"):
                scene.send("during")
            down = scene.until("down", begun)
        healed = time.monotonic()
        scene.send("after")
        up = scene.until("up", down["at"])
        sent = ["after"] if fault.startswith("office") else ["during", "after"]
        handled = [scene.until("handled", subject=subject) for subject in sent]
        scene.agent.kill()
        scene.office.kill()
    last = max(event["at"] for event in handled)
    print(json.dumps({
        "detected_s": down["at"] - begun, "zombie_s": down["zombie_s"], "causes": down["causes"], "healed_to_up_s": up["at"] - healed,
        "caught_up_s": max(0.0, last - up["at"]), "attempts": max(event["attempt"] for event in handled),
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
