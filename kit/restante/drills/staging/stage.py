"""The stage on staging hosts. The load sends from the controller, the agent runs on it, faults go out from it: one clock sees it all."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from restante.drills import office
from restante.drills.console import Remote, sh, together
from restante.drills.history import Writer
from restante.drills.process import apart, end
from restante.drills.scenario import Scenario
from restante.drills.stage import Stage
from restante.drills.staging import lodging
from restante.drills.staging.hosts import Hosts
from restante.drills.staging.leash import FAULT, Leash
from restante.lab.system import last_words

LOG = "agent.log"
MARGIN_S = 60  # beyond the fault's own time, until its host heals it without us


class StagingStage(Stage):
    """Only the kit's side plays."""

    def __init__(self, hosts: Hosts, history: Writer, scenario: Scenario, seed: int, *, quick: bool) -> None:
        super().__init__(history, scenario, seed, quick=quick)
        assert hosts.spec.inboxes
        self.hosts, self.prefix, self.engine = hosts, hosts.prefix, hosts.engine
        self.smtp = {"kit": [(host.address, 25) for host in hosts.of("post")]}
        self.inbox, self.domain = lodging.name(), hosts.spec.inboxes.domains[0]
        self._over_with = ExitStack()
        self._agent: subprocess.Popen[str] | None = None
        self._environment: dict[str, str] = {}
        self._folder = Path()

    @property
    def posts(self) -> Sequence[Remote]:
        return self.hosts.of("post")

    def prepare(self, began: float) -> None:
        for host in self.posts:
            office.ready(host)
        self._folder = Path(self._over_with.enter_context(tempfile.TemporaryDirectory(prefix="restante-drill-")))
        token = self._over_with.enter_context(lodging.lodging(self.posts, self.inbox, self.inboxes))
        self._environment = {
            **self.hosts.here(), "RESTANTE_URL": f"https://{self.hosts.spec.domain}", "RESTANTE_TOKEN": token,
            "RESTANTE_WORKER": self.inbox, "DRILL_INBOX": self.inbox, "DRILL_AGENTS": str(self.agents),
            "STATE_DIRECTORY": str(self._folder),
        }  # fmt: skip
        self.follow(self._folder / "events.jsonl", began)

    def on(self, tier: str, script: str) -> None:
        together(*(partial(sh, host, script) for host in self.hosts.of(tier)))

    def units(self, command: str, role: str) -> None:
        """No systemd watches the agent here: it is started again at once, whatever the command was."""
        if role == "mail":
            self.on("post", f"systemctl {command} restante-server")
        else:
            self._end_agent()
            argv = [*self.prefix, sys.executable, "-m", "restante.drills.staging.agent"]
            with (self._folder / LOG).open("ab") as log:
                self._agent = apart(argv, stdin=subprocess.PIPE, stderr=log, env=self._environment)

    def complaint(self) -> str:
        return f":\n{said}" if (said := last_words((self._folder / LOG).read_text(errors="replace"), 1)) else ""

    def broken_for(self, quick_s: float, long_s: float, name: str, tier: str, inject: str, heal: str) -> None:
        limit_s = (quick_s if self.quick else long_s) + MARGIN_S
        leashes = [Leash(host, FAULT, inject, heal, limit_s) for host in self.hosts.of(tier)]

        def pull() -> None:
            together(*(leash.pull for leash in leashes))

        def let_go() -> None:
            together(*(leash.let_go for leash in leashes))

        with self.fault(name, pull, let_go):
            self.hold(quick_s, long_s)

    def clear(self) -> None:
        """The senders first: what is still to come would meet an inbox that is gone."""
        try:
            super().clear()
            self._end_agent()
        finally:
            self._over_with.close()

    def _end_agent(self) -> None:
        if self._agent:
            end(self._agent)
