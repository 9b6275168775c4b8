"""The hosts of a drill: deployed once from a spec by the commands that an operator types, then shut down; each scenario boots copies.

Beside the kit's hosts stand two with nothing of ours on them, for the naive stack and for common practice, and a router on the way of all
agents. Copies share the disks of the first ones, which are only read, so a scenario costs a boot and no deploy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from restante.drills.console import put, sh
from restante.drills.scenario import MOST_AGENTS
from restante.errors import FoundError
from restante.lab.authority import certificate
from restante.lab.host import Host
from restante.lab.lab import Lab
from restante.lab.machine import Machine, lab_directory, labs_directory

Say = Callable[[str], None]
STACKS = Path(__file__).parent / "stacks"
DOMAIN = "mail.drill.example"
MAIL, STORE, PLAIN_MAIL = "203.0.113.10", "203.0.113.12", "203.0.113.11"
AGENT, PLAIN_AGENT = "192.0.2.20", "192.0.2.21"
ROUTER = {"kit": "198.51.100.1", "plain": "198.51.100.2"}  # where the agents look for each stack
INBOX_DOMAIN, INBOX_PREFIX = "drill.example", "agent"
INBOXES = [f"{INBOX_PREFIX}-{number}@{INBOX_DOMAIN}" for number in range(1, MOST_AGENTS + 1)]
PLAIN_PACKAGES = ("nginx", "nodejs", "node-ws", "python3-websockets", "python3-aiosmtpd", "haproxy")
AUTHORITY = "/etc/ssl/drill-authority.pem"
SERVERS = {"naive": "/usr/bin/node /opt/drill/server.cjs", "common": "/usr/bin/python3 /opt/drill/server.py"}
# Node 20 has the browser's WebSocket behind this flag, Node 22 without.
AGENTS = {
    "naive": "/usr/bin/node --experimental-websocket /opt/drill/agent.cjs",
    "common": "/usr/bin/python3 /opt/drill/agent.py",
}
_COMMAND_LIMIT_S = 400


@dataclass(frozen=True)
class Kind:
    """Which of the two fleets: its spec, and what stands beside the kit's own hosts."""

    spec: str
    machines: tuple[str, ...]
    beside: tuple[Machine, ...] = ()


def _beside(name: str, *addresses: str) -> Machine:
    return Machine(name, "trixie", addresses)


PLAIN = (_beside("plain-mail", PLAIN_MAIL), _beside("plain-agent", PLAIN_AGENT), _beside("router", *ROUTER.values()))
KINDS = {
    "sqlite": Kind("drill", ("mail", "agent"), PLAIN),
    "postgresql": Kind("drill-postgresql", ("mail", "store", "agent")),
}


class Fleet:
    """Hosts as deployed, at rest; `scene` boots copies of them. `folder` holds the spec, and belongs to this fleet alone."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = KINDS[kind]
        self.spec = folder / f"{self.kind.spec}.yml"
        self.lab = Lab(lab_directory(self.spec))
        self.authority = self.lab.authority

    def deploy(self, say: Say) -> None:
        """Boot, deploy, create a token, deploy the agent with it, shut down."""
        shutil.copy(STACKS / "kit" / self.spec.name, self.spec)
        shutil.copy(STACKS / "kit/agent.py", self.spec.parent)
        self._restante("lab", "up", str(self.spec))
        self.lab.up(self.kind.beside, {"trixie": PLAIN_PACKAGES})
        say(f"{self.kind.spec}: booted")
        with ThreadPoolExecutor() as pool:
            furnished = [pool.submit(self._furnish, machine.name) for machine in self.kind.beside]
            self._deploy_kit()
            for each in furnished:
                each.result()
        self.lab.rest()
        say(f"{self.kind.spec}: deployed")

    def _deploy_kit(self) -> None:
        self._restante("deploy", str(self.spec), "--lab")
        allowed = [word for inbox in INBOXES for word in ("--allow", f"{inbox}=receive,read")]
        token = sh(self.lab.host("mail"), f"restante token create drill {' '.join(allowed)}")
        put(self.lab.host("agent"), AUTHORITY, (self.authority / "ca.pem").read_text())
        with self.spec.open("a") as spec:
            spec.write((STACKS / "kit/services.yml").read_text())
        self._restante("deploy", str(self.spec), "--lab", DRILL_TOKEN=token)

    def _furnish(self, name: str) -> None:
        host = self.lab.host(name)
        packages = {"plain-mail": PLAIN_PACKAGES[:-1], "plain-agent": PLAIN_PACKAGES[1:4], "router": ["haproxy"]}[name]
        sh(host, f"DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends {' '.join(packages)}")
        if name == "router":
            sh(host, "systemctl disable --now haproxy")
            return
        put(host, AUTHORITY, (self.authority / "ca.pem").read_text())
        part, programs = ("server", SERVERS) if name == "plain-mail" else ("agent", AGENTS)
        for side, suffix in (("naive", "cjs"), ("common", "py")):
            put(host, f"/opt/drill/{part}.{suffix}", (STACKS / side / f"{part}.{suffix}").read_text())
            unit = (STACKS / "plain/program.service").read_text().format(name=f"{side} {part}", command=programs[side])
            put(host, f"/etc/systemd/system/{side}.service", unit)
        if part == "server":
            self._edge(host)
        sh(host, "systemctl daemon-reload && systemctl enable naive common")

    def _edge(self, host: Host) -> None:
        for side in SERVERS:
            chain, key = certificate(self.authority, f"{side}.drill.example")
            put(host, f"/etc/ssl/{side}.pem", chain)
            put(host, f"/etc/ssl/{side}.key", key)
        put(host, "/etc/nginx/sites-enabled/default", (STACKS / "plain/nginx.conf").read_text())

    def scene(self, name: str) -> Lab:
        """A lab for copies of these hosts, with nothing in it."""
        lab = Lab(labs_directory() / f"drill-{name}")
        lab.down()
        return lab

    def names(self, machines: Sequence[str]) -> dict[str, str]:
        """Where agents look for the mail hosts: at the router, when there is one."""
        if "router" not in machines:
            return {DOMAIN: MAIL}
        return {DOMAIN: ROUTER["kit"], **{f"{side}.drill.example": ROUTER["plain"] for side in SERVERS}}

    def down(self) -> None:
        self.lab.down()

    def _restante(self, *argv: str, **environment: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "restante", *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_COMMAND_LIMIT_S, env={**os.environ, **environment},
        )  # fmt: skip
        if done.returncode:
            raise FoundError(
                f"drill: `restante {' '.join(argv)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
