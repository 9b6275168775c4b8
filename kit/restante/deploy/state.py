"""What every host of a bundle is at this moment, and what of it needs a person."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT_S = 30
SCRIPT = Path(__file__).with_name("on_host.py")
ROLES = {
    "leader": "leads",
    "sync_standby": "has every commit",
    "quorum_standby": "has every commit",
    "replica": "follows",
}


@dataclass(frozen=True)
class HostState:
    """`told` is what on_host.py printed; `away` why nothing was. `wanted`: the release that the bundle has for it."""

    name: str
    tiers: Sequence[str]
    wanted: str
    told: Mapping[str, Any] = field(default_factory=dict)
    away: str = ""

    @property
    def release(self) -> str:
        return str(self.told.get("release") or "")

    def says(self) -> str:
        """One line for a person."""
        if self.away:
            return self.away
        parts = [*self._post(), *self._edge(), *self._store()] if self.release else []
        return ", ".join([*parts, *self.troubles()])

    def troubles(self) -> list[str]:
        """What is not as it should be."""
        if self.away:
            return [self.away]
        if not self.release:
            return ["nothing is deployed"]
        found = ["a deploy did not end"] * bool(self.told["unfinished"])
        found += [f"another release than the spec's ({self.wanted})"] if self.release != self.wanted else []
        found += [f"{name} still runs what was there before" for name in self.told["old"]]
        found += [f"{unit} is not active" for unit in self.told["inactive"]]
        if (post := self.told.get("post")) and not (post["ready"] or post["draining"]):
            found.append(f"the post office is not ready ({post['says'] or 'it does not answer'})")
        found += ["nginx does not answer"] if (edge := self.told.get("nginx")) and not edge["serves"] else []
        found += (
            ["PostgreSQL does not answer"] if (store := self.told.get("postgresql")) and not store["serves"] else []
        )
        return found + list(self._member_troubles())

    def _post(self) -> Iterator[str]:
        if post := self.told.get("post"):
            yield "draining" if post["draining"] else "ready" if post["ready"] else "waiting"
            yield f"{post['sockets']} sockets"
            yield f"{post['queue']} mails in Postfix's queue"

    def _edge(self) -> Iterator[str]:
        if edge := self.told.get("nginx"):
            yield f"{edge['connections']} connections"
            if edge["draining_workers"]:
                yield f"{edge['draining_workers']} workers draining"

    def _store(self) -> Iterator[str]:
        own = self._member()
        if own:
            yield ROLES.get(own["role"], own["role"]) if own["state"] in {"running", "streaming"} else own["state"]
            yield f"timeline {own['timeline']}"
            if own["lag_bytes"] is not None:
                yield f"{own['lag_bytes'] >> 10} KiB behind"

    def _member(self) -> Mapping[str, Any] | None:
        members = self.told.get("cluster", {}).get("members", ())
        return next((each for each in members if each["name"] == self.name), None)

    def _member_troubles(self) -> Iterator[str]:
        cluster = self.told.get("cluster")
        if cluster is None:
            return
        if not cluster:
            yield "the members of the store could not be asked from here"
            return
        if not cluster.get("etcd", {}).get(self.name):
            yield "etcd is not healthy here"
        own = self._member()
        if own is None:
            yield "the cluster does not know this member"
        elif own["state"] not in {"running", "streaming"}:
            yield f"PostgreSQL is {own['state']}"
        if trouble := cluster.get("trouble"):
            yield trouble


def ask(bundle: Path, commands: Mapping[str, Sequence[str]]) -> list[HostState]:
    """All hosts at once. `commands`: host -> what runs a Python program there that comes on its standard input."""
    hosts = json.loads((bundle / "plan.json").read_bytes())["hosts"]

    def one(name: str) -> HostState:
        wanted = json.loads((bundle / "hosts" / name / "manifest.json").read_bytes())["release"]
        return _ask(HostState(name, hosts[name]["tiers"], wanted), commands[name])

    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(one, hosts))


def _ask(host: HostState, argv: Sequence[str]) -> HostState:
    def away(why: str) -> HostState:
        return HostState(host.name, host.tiers, host.wanted, away=why)

    try:
        done = subprocess.run(
            argv, input=SCRIPT.read_text(), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return away(f"does not answer within {LIMIT_S} s")
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it did not say why"])[-1]
        return away(f"could not be asked: {said}")
    return HostState(host.name, host.tiers, host.wanted, json.loads(done.stdout))
