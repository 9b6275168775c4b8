"""The hosts of a spec, when it says that they may be broken, and the way to each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from restante.checks.bundle import Bundle
from restante.deploy.state import ask
from restante.drills.console import Remote, together
from restante.drills.scenario import Scenario
from restante.drills.staging.leash import FAULT, RUN, Leash, unless
from restante.errors import FoundError, InputError
from restante.lab.system import await_true, last_words
from restante.spec.hosts import Tier
from restante.spec.model import Spec

AGAIN_S = 90  # until a host that was broken is as it was
LONGEST_RUN_S = 24 * 3600
_REACH_LIMIT_S = 120


@dataclass(frozen=True)
class Hosts:
    """`ways`: host -> what is put before a command that runs there as root. `prefix`: before one that runs where hosts are reached.

    `environment` is added to ours for what runs there.
    """

    spec: Spec
    bundle: Bundle
    ways: Mapping[str, Sequence[str]]
    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def all(self) -> list[Remote]:
        return [Remote(name, self.bundle.inventory[name]["ansible_host"], way) for name, way in self.ways.items()]

    def of(self, tier: str) -> list[Remote]:
        return [host for host in self.all if tier in self.bundle.plan["hosts"][host.name]["tiers"]]

    @property
    def engine(self) -> str:
        """The unit of PostgreSQL on the store host; "" where there is none that can be stopped alone."""
        stores = [] if self.spec.store.replicated else self.of("store")
        units = [unit for host in stores for unit in self.bundle.units(host.name, "postgresql")]
        return next((unit for unit in units if unit.startswith("postgresql@")), "")

    def here(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    # -- may it be done

    def lacks(self, scenario: Scenario) -> str:
        """Why the scenario cannot be played here; "" when it can."""
        for tier in scenario.machines:
            if not self.of(tier):
                return f"there is no host of tier {tier}"
        if "store" in scenario.machines and not self.engine:
            return f"it stops the one host of tier store, and this store is {self.spec.store.engine}"
        return ""

    def demand_health(self, limit_s: float = 0) -> None:
        """Raises FoundError that names what is not as it should be, when that does not end within `limit_s`."""
        found: list[str] = []

        def healthy() -> bool:
            states = ask(self.bundle.folder, {name: [*way, "python3", "-"] for name, way in self.ways.items()})
            found[:] = [f"{state.name}: {trouble}" for state in states for trouble in state.troubles()]
            return not found

        if not await_true(healthy, limit_s):
            raise FoundError("\n".join(found))

    def demand_ways(self) -> None:
        """Raises FoundError unless the edges and the post hosts can be reached as agents and senders reach them."""
        addresses = [host.address for host in self.of("post")]
        argv = [*self.prefix, sys.executable, "-m", "restante.drills.staging.reach", self.spec.domain, *addresses]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_REACH_LIMIT_S,
            env=self.here(), cwd="/",
        )  # fmt: skip
        if done.stdout or done.returncode:
            raise FoundError(
                done.stdout.strip() or f"drill: the way to the hosts could not be tried: {last_words(done.stderr, 1)}"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One drill at a time, and none beside a fault that a killed one has left to heal."""
        leashes = [Leash(host, RUN, unless(FAULT), ":", LONGEST_RUN_S) for host in self.all]
        with ExitStack() as over:
            for leash in leashes:
                over.callback(leash.let_go)
            together(*(leash.pull for leash in leashes))
            yield


def permitted(file: Path, spec: Spec) -> None:
    """Raises InputError unless the spec says that its hosts may be broken, and has what a drill watches."""
    if spec.drills != "allowed":
        raise InputError(
            f"{file}: nothing says that these hosts may be broken. A drill kills their post office, cuts every agent and drops packets; "
            "no mail is lost, but everybody's waits. If they are staging hosts, write into the spec: drills: allowed"
        )
    for tier, what in (("edge", "the agent connects through one"), ("post", "the mail goes there")):
        if not spec.hosts_of(Tier(tier)):
            raise InputError(f"{file}: a drill needs a host of tier {tier}: {what}")
