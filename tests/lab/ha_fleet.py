"""examples/ha.yml on lab hosts: who leads, an agent that comes in through the edges, and what is told of one fault under load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mail_host import HERE, INBOX, Load, PostHost
from test_examples import Fleet, until

STORES = ("store-1", "store-2", "store-3")
ARCHIVE = "post-2"
DATA = "/var/lib/postgresql/17/restante"
EDGES = {"edge-1": "192.0.2.11", "edge-2": "192.0.2.12"}
POSTS = {"post-1": "198.51.100.11", "post-2": "198.51.100.12"}
PAUSE_S = 0.2
PAUSE_OF_LOAD_S = 1.0  # a longer one without a commit is the fault's
MOST = 5000  # mails of one load: no fault lasts so long
AGENT = f"""
import json, os, sys, threading, time
from restante import Mailbox
# A signal would reach nsenter(1) alone.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
for delivery in Mailbox("https://mail.example.org", inbox="{INBOX}", token=sys.argv[1]).consume():
    with delivery:
        message = delivery.message
        number = int(message.subject.split()[1])
        # A second attempt says itself that it is one: the answer to an acknowledgement was lost.
        repeats = message.data["duplicate_of"] or delivery.attempt > 1
        print(json.dumps([number, message.received_at, time.time(), bool(repeats)]), flush=True)
"""


class Agent:
    """The SDK as it is shipped, in the lab's network, through whichever edge the name leads to; `handled` is what it printed."""

    def __init__(self, fleet: Fleet, token: str) -> None:
        environment = {**os.environ, "SSL_CERT_FILE": str(fleet.lab.authority / "ca.pem")}
        self._process = subprocess.Popen(
            [*fleet.lab.prefix(), sys.executable, "-c", AGENT, token],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.handled: list[tuple[int, float, float, bool]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout
        self.handled += (tuple(json.loads(line)) for line in self._process.stdout)

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)
        self._thread.join()


class Lines:
    """The connections of many agents, to an inbox that has no mail: each would be told of each."""

    def __init__(self, fleet: Fleet, inbox: str, token: str, count: int) -> None:
        environment = {**os.environ, "SSL_CERT_FILE": str(fleet.lab.authority / "ca.pem")}
        argv = [*fleet.lab.prefix(), sys.executable, str(HERE / "lines.py"), inbox, token, str(count)]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment)
        self._up, self._moved = 0, threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._moved:
                self._up = int(line)
                self._moved.notify_all()

    def until(self, condition: Callable[[int], bool], limit_s: float) -> None:
        """`condition` holds of the number that stands."""
        with self._moved:
            assert self._moved.wait_for(lambda: condition(self._up), limit_s), f"{self._up} stand"

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()


@dataclass
class Told:
    """Of one fault. `gap_s`: the longest time without a commit. `late_s`: the longest from a mail's commit to its agent, where what is
    dated within that gap was committed at its end.
    """

    gap_s: float
    late_s: float
    lost: set[int]
    twice: set[int]


class HaFleet:
    """A deployed examples/ha.yml with an agent."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.posts = [PostHost(fleet, name, address) for name, address in POSTS.items()]
        with (fleet.lab.directory / "hosts").open("a") as names:
            names.writelines(f"{address} mail.example.org\n" for address in EDGES.values())
        self.agent = Agent(fleet, self.token(INBOX))
        self._next = 0

    def token(self, inbox: str) -> str:
        made = self.posts[0].ask("POST", "/v1/tokens", {"name": "agent", "scopes": {inbox: ["receive", "read"]}})
        return str(made["token"])

    def machine(self, name: str) -> Any:
        return self.fleet.lab.host(name)

    def told(self, name: str) -> dict[str, Any]:
        """What this member knows of all; nothing when it does not answer."""
        if not self.machine(name).running():
            return {}
        done = self.machine(name).exec(["/usr/local/lib/restante/cluster", "status"])
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def members(self) -> dict[str, dict[str, Any]]:
        """As any member that answers knows them."""
        answers = (self.told(name).get("members") for name in STORES)
        return {each["name"]: each for each in next((found for found in answers if found), ())}

    def named(self, role: str) -> str:
        """Whose role it is now; "" while it is nobody's, as during a failover."""
        return next((name for name, each in self.members().items() if each["role"] == role), "")

    @property
    def leader(self) -> str:
        return self.named("leader")

    def whole(self) -> bool:
        found = self.members()
        roles = sorted(each["role"] for each in found.values() if each["state"] in {"running", "streaming"})
        same = len({each["timeline"] for each in found.values()}) == 1
        return roles == ["leader", "replica", "sync_standby"] and same and self.told(self.leader).get("trouble") == ""

    def mended(self) -> None:
        """All members follow one leader, no unit has failed, both post offices serve."""
        until(self.whole, f"a whole cluster, and not {self.members()}", 120)
        for name in (*STORES, *POSTS, *EDGES):
            until(lambda name=name: not self.machine(name).settle(), f"{name} without a failed unit", 60)
        for post in self.posts:
            post.ready()

    def numbers(self, count: int) -> int:
        """The first of so many that no mail has had."""
        self._next += count
        return self._next - count

    def restore(self, *words: str) -> str:
        """As docs/how-to/back-up-and-restore.md says, and what was printed beside the backups."""
        for name in STORES:
            self.fleet.on(name, f"systemctl stop patroni && rm -rf {DATA}.before-restore")
        said = self.fleet.on(ARCHIVE, " ".join(("restante restore", *words)))
        first, *others = STORES
        self.fleet.on(first, "restante restore && systemctl start patroni")
        for name in others:
            until(
                lambda: any(each["role"] == "leader" for each in self.members().values()),
                "a first member that leads",
                60,
            )
            self.fleet.on(name, "restante restore --follow && systemctl start patroni")
        for post in self.posts:
            post.sh("systemctl start 'restante-*.socket' restante-server.service")
        self.mended()
        self.fleet.on(ARCHIVE, "systemctl stop restante-restored")
        return said

    def play(self, fault: Callable[[], None], after: int = 25) -> Told:
        """`fault` strikes under load on both post hosts and heals; `after` mails later on each, all that was answered 250 must have been
        handled, and nobody may have been refused for longer than his retries.
        """
        first = self.numbers(2 * MOST)
        loads = [Load(post, first + index * MOST, MOST, pause_s=PAUSE_S) for index, post in enumerate(self.posts)]
        for load in loads:
            load.reached(10)
        fault()
        for load in loads:
            assert load.runs, "the load ended before the fault"
            load.reached(len(load.answered) + after)
            load.stop()
        answered = {number for load in loads for number in load.end()}
        assert not any(load.given_up for load in loads), "a sender was refused beyond its retries"
        self.mended()
        for post in self.posts:
            post.emptied()
        until(lambda: answered <= {each[0] for each in self.agent.handled}, "the last mail at its agent", 60)
        return self._told(answered, first)

    def _told(self, answered: set[int], first: int) -> Told:
        mine = sorted((each for each in self.agent.handled if first <= each[0] < self._next), key=lambda each: each[1])
        unmarked = [number for number, _, _, repeats in mine if not repeats]
        gap, begin, end = max((after[1] - before[1], before[1], after[1]) for before, after in pairwise(mine))
        # A transaction that waited for its second disk is dated by its begin.
        waited = gap > PAUSE_OF_LOAD_S
        late = max(
            handled - (end if waited and begin <= committed < end else committed) for _, committed, handled, _ in mine
        )
        lost = answered - {each[0] for each in mine}
        return Told(gap, late, lost, {number for number in unmarked if unmarked.count(number) > 1})
