"""Where a scenario plays: booted hosts, agents that are connected, a load that can be turned on, faults, and one history of all of it."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from restante.drills import office
from restante.drills.fleet import MAIL, PLAIN_MAIL, ROUTER, STACKS, sh
from restante.drills.history import Writer
from restante.drills.load import GRACE_S
from restante.drills.scenario import Scenario
from restante.errors import FoundError
from restante.lab.host import Host
from restante.lab.lab import Lab
from restante.lab.system import await_true

SMTP = {"kit": (MAIL, 25), "naive": (PLAIN_MAIL, 2501), "common": (PLAIN_MAIL, 2502)}
EVENTS = {
    "kit": ("agent", "/var/lib/restante/drill/events.jsonl"),
    "plain": ("plain-agent", "/var/lib/drill/events.jsonl"),
}
FOLLOW_S = 0.02
CONNECT_S = 60
DRAIN_S = 100  # the longest backoff of 60 s with its jitter, and then some
DROP_IN = "/etc/systemd/system/{unit}.service.d/drill.conf"


class Stage:
    """`quick`: short clocks. `random` is the only source of chance, so a seed gives the same schedule again."""

    def __init__(
        self, lab: Lab, history: Writer, scenario: Scenario, authority: Path, seed: int, *, quick: bool
    ) -> None:
        self.lab, self.history, self.scenario, self.authority, self.quick = lab, history, scenario, authority, quick
        self.sides, self.agents = scenario.sides, scenario.agents
        self.random = random.Random(seed)  # noqa: S311
        self.plain = "naive" in self.sides
        self.expires = 0.0  # of the certificates that a scenario gave out
        self.not_awaited: set[int] = set()  # dead letters, and what is named as gone
        self._n, self._over = 0, threading.Event()
        self._threads: list[threading.Thread] = []
        self._load: subprocess.Popen[str] | None = None

    # -- hosts

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def pair(self, name: str) -> list[Host]:
        """The kit's host of that role, and the one of the others."""
        return [self.host(name), *([self.host(f"plain-{name}")] if self.plain else [])]

    def sh(self, name: str, script: str, timeout: float = 120) -> str:
        return sh(self.host(name), script, timeout)

    def together(self, *works: Callable[[], Any]) -> None:
        """All at the same time: every side meets the same fault at the same moment."""
        with ThreadPoolExecutor(len(works)) as pool:
            for done in [pool.submit(work) for work in works]:
                done.result()

    def each(self, role: str, act: Callable[[Host], object]) -> None:
        """The same on the kit's host of a role and on the others', at the same time."""
        self.together(*(partial(act, host) for host in self.pair(role)))

    def everywhere(self, role: str, script: str) -> None:
        """A line of shell on each."""
        self.each(role, lambda host: sh(host, script))

    def units(self, command: str, role: str) -> None:
        """systemctl `command` on the servers (mail), or the agents, of all sides."""
        kit = {"mail": "restante-server", "agent": "drill"}[role]
        self.each(role, lambda host: sh(host, f"systemctl {command} {kit if host.name == role else 'naive common'}"))

    # -- the way between agents and hosts

    def path(self, unknown: str = "drop", forgets_s: int = 0) -> None:
        """Lay the router's way: what it does to flows that it does not know, and after how long it forgets an idle one."""
        rules = (STACKS / "router/nat.nft").read_text()
        addresses = {"kit": ROUTER["kit"], "plain": ROUTER["plain"], "mail": MAIL, "plain_mail": PLAIN_MAIL}
        # net.ipv4.conf.*.send_redirects: it passes packets on over the cable that they came by, and must not say so.
        settings = {
            "net.ipv4.ip_forward": 1, "net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.eth0.send_redirects": 0,
            "net.netfilter.nf_conntrack_tcp_loose": 0,
            **({"net.netfilter.nf_conntrack_tcp_timeout_established": forgets_s} if forgets_s else {}),
        }  # fmt: skip
        self.sh("router", f"sysctl -qw {' '.join(f'{key}={value}' for key, value in settings.items())}")
        self.nft(rules.format(unknown=unknown, **addresses))

    def nft(self, rules: str) -> None:
        done = self.host("router").exec(["nft", "-f", "-"], input=rules)
        if done.returncode:
            raise FoundError(f"drill: the router refuses its rules: {done.stderr}")

    def balancer(self) -> None:
        """haproxy in place of the router, with the timeouts that Debian ships."""
        lines = (STACKS / "router/haproxy.cfg").read_text()
        lines = lines.format(kit=ROUTER["kit"], plain=ROUTER["plain"], mail=MAIL, plain_mail=PLAIN_MAIL)
        self.host("router").exec(
            ["sh", "-c", "cat >> /etc/haproxy/haproxy.cfg && systemctl start haproxy"], input=lines
        )

    # -- life

    def open(self) -> None:
        """Every agent connected, from a fresh start, and the senders ready."""
        began = time.monotonic()
        self._follow(began)
        (self.scenario.prepare or Stage.path)(self)
        office.ready(self.host("mail"))
        if self.agents > 1:
            for host, unit in self._agent_units():
                text = f"[Service]\nEnvironment=DRILL_AGENTS={self.agents}\n"
                path = DROP_IN.format(unit=unit)
                host.exec(
                    ["sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path} && systemctl daemon-reload"], input=text
                )
        self.units("restart", "agent")
        for side in self.sides:
            if not self.history.wait(CONNECT_S, began, self.agents, side=side, what="up"):
                raise FoundError(f"drill: the {side} agents did not connect within {CONNECT_S} s")
        self._start_load()
        self.history.say("stage", "play")

    def _agent_units(self) -> list[tuple[Host, str]]:
        plain = [(self.host("plain-agent"), unit) for unit in ("naive", "common")] if self.plain else []
        return [(self.host("agent"), "drill"), *plain]

    def _follow(self, began: float) -> None:
        for kind, (name, path) in EVENTS.items():
            if kind == "kit" or self.plain:
                file = self.host(name).path(path)
                thread = threading.Thread(target=self._tail, args=(file, began), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _tail(self, file: Path, began: float) -> None:
        """A host may be off meanwhile: its disk stays mounted."""
        place, rest = 0, b""
        while not self._over.wait(FOLLOW_S):
            with contextlib.suppress(FileNotFoundError), file.open("rb") as lines:
                lines.seek(place)
                chunk = lines.read()
                place += len(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    event = json.loads(line)
                    if event["at"] >= began:
                        self.history.add(event)

    def _start_load(self) -> None:
        targets = json.dumps({side: SMTP[side] for side in self.sides})
        command = [*self.lab.prefix(), sys.executable, "-m", "restante.drills.load", targets]
        self._load = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd="/"
        )
        thread = threading.Thread(target=self._hear, args=(self._load,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _hear(self, load: subprocess.Popen[str]) -> None:
        assert load.stdout
        for line in load.stdout:
            self.history.add(json.loads(line))

    # -- what a scenario does

    def send(self, kind: str = "mail") -> int:
        """One mail to every side; its number.

        `kind`: mail, slow (2 s of work), block (50 s in which its program does nothing else) or poison (no agent can handle it).
        """
        self._n += 1
        if kind == "poison":
            self.not_awaited.add(self._n)
        inbox = f"agent-{(self._n - 1) % self.agents + 1}"
        assert self._load
        assert self._load.stdin
        self._load.stdin.write(json.dumps({"n": self._n, "inbox": inbox, "subject": f"{kind} {self._n}"}) + "\n")
        return self._n

    @contextlib.contextmanager
    def mails(self, per_second: float) -> Iterator[None]:
        """A steady stream for as long as the block runs."""
        enough = threading.Event()

        def stream() -> None:
            while not enough.wait(1 / per_second):
                self.send()

        thread = threading.Thread(target=stream, daemon=True)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def sleep(self, quick_s: float, long_s: float | None = None) -> None:
        """Let time pass, a random fifth more or less."""
        seconds = quick_s if self.quick or long_s is None else long_s
        time.sleep(seconds * self.random.uniform(0.8, 1.2))

    def hold(self, quick_s: float, long_s: float) -> None:
        """Let time pass, exactly: for what must be longer than a bound."""
        time.sleep(quick_s if self.quick else long_s)

    def strike(self, fault: str, **more: Any) -> float:
        """A fault begins now that nothing takes away; the caller brings it."""
        return self.history.say("nemesis", "inject", fault=fault, **more)

    def heal(self, fault: str) -> float:
        return self.history.say("nemesis", "heal", fault=fault)

    @contextlib.contextmanager
    def fault(self, name: str, inject: Callable[[], Any], heal: Callable[[], Any]) -> Iterator[None]:
        """For as long as the block runs."""
        self.strike(name)
        try:
            inject()
            yield
        finally:
            heal()
            self.heal(name)

    def expect(self, what: str, limit_s: float, **wanted: Any) -> None:
        """Go on when that was seen. Raises FoundError: the scenario did not happen as it is told."""
        if not self.history.wait(limit_s, what=what, **wanted):
            shown = " ".join(f"{key}={value}" for key, value in wanted.items())
            raise FoundError(f"drill: '{what}' {shown} was not seen within {limit_s:.0f} s")

    def until(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        """Go on when it is so. Raises FoundError: the scenario did not happen as it is told."""
        if not await_true(condition, limit_s):
            raise FoundError(f"drill: {what} did not come within {limit_s:.0f} s")

    # -- the end

    def close(self) -> None:
        """No more mail; wait until the kit's side has all that was accepted there, or its time is over; look at what the office holds."""
        assert self._load
        assert self._load.stdin
        self._load.stdin.close()
        limit = time.monotonic() + GRACE_S + DRAIN_S
        await_true(lambda: self._settled() or time.monotonic() > limit, GRACE_S + DRAIN_S + 1)
        time.sleep(1)  # for what comes twice, which nothing announces
        for event in office.found(self.host("mail"), self.agents):
            self.history.say("office", event.pop("what"), "kit", **event)
        self.history.say("stage", "end")

    def _settled(self) -> bool:
        """Each mail has its answer on every side, and what the kit accepted was handled, or need not be waited for."""
        for side in self.sides:
            known = self.history.numbers(side=side, who="load", what="accepted")
            known |= self.history.numbers(side=side, who="load", what="refused")
            if len(known) < self._n:
                return False
        accepted = self.history.numbers(side="kit", who="load", what="accepted")
        return accepted <= self.history.numbers(side="kit", what="handled") | self.not_awaited

    def clear(self) -> None:
        """Nothing that was started here goes on."""
        self._over.set()
        if self._load:
            self._load.kill()
            self._load.wait()
        for thread in self._threads:
            thread.join(5)
