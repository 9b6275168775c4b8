"""The stage of a lab: its hosts, the way between agents and hosts, and two other stacks that meet the same faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from restante.drills import office
from restante.drills.console import sh, together
from restante.drills.fleet import INBOX_DOMAIN, INBOX_PREFIX, MAIL, PLAIN_MAIL, ROUTER, STACKS
from restante.drills.history import Writer
from restante.drills.scenario import Scenario
from restante.drills.stage import Stage
from restante.errors import FoundError
from restante.lab.host import Host
from restante.lab.lab import Lab

EVENTS = {
    "kit": ("agent", "/var/lib/restante/drill/events.jsonl"),
    "plain": ("plain-agent", "/var/lib/drill/events.jsonl"),
}
DROP_IN = "/etc/systemd/system/{unit}.service.d/drill.conf"
TIERS = {"edge": "mail", "post": "mail", "store": "store"}  # the kit's host of each


class LabStage(Stage):
    """Hosts in a lab, laid over those of a fleet."""

    smtp = {"kit": [(MAIL, 25)], "naive": [(PLAIN_MAIL, 2501)], "common": [(PLAIN_MAIL, 2502)]}  # noqa: RUF012
    inbox, domain = INBOX_PREFIX, INBOX_DOMAIN
    engine = "postgresql@17-main.service"

    def __init__(
        self, lab: Lab, history: Writer, scenario: Scenario, authority: Path, seed: int, *, quick: bool
    ) -> None:
        super().__init__(history, scenario, seed, quick=quick)
        self.lab, self.authority = lab, authority
        self.prefix = lab.prefix()
        self.plain = "naive" in self.sides
        self.expires = 0.0  # of the certificates that a scenario gave out

    # -- hosts

    @property
    def posts(self) -> Sequence[Host]:
        return [self.host("mail")]

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def pair(self, name: str) -> list[Host]:
        """The kit's host of that role, and the one of the others."""
        return [self.host(name), *([self.host(f"plain-{name}")] if self.plain else [])]

    def sh(self, name: str, script: str, timeout: float = 120) -> str:
        return sh(self.host(name), script, timeout)

    def each(self, role: str, act: Callable[[Host], object]) -> None:
        """The same on the kit's host of a role and on the others', at the same time."""
        together(*(partial(act, host) for host in self.pair(role)))

    def everywhere(self, role: str, script: str) -> None:
        """A line of shell on each."""
        self.each(role, lambda host: sh(host, script))

    def on(self, tier: str, script: str) -> None:
        """The other stacks have an nginx too, and neither Postfix nor a store."""
        if tier == "edge":
            self.everywhere(TIERS[tier], script)
        else:
            self.sh(TIERS[tier], script)

    def units(self, command: str, role: str) -> None:
        kit = {"mail": "restante-server", "agent": "drill"}[role]
        self.each(role, lambda host: sh(host, f"systemctl {command} {kit if host.name == role else 'naive common'}"))

    def broken_for(self, quick_s: float, long_s: float, name: str, tier: str, inject: str, heal: str) -> None:
        with self.fault(name, partial(self.on, tier, inject), partial(self.on, tier, heal)):
            self.hold(quick_s, long_s)

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

    def prepare(self, began: float) -> None:
        for kind, (name, path) in EVENTS.items():
            if kind == "kit" or self.plain:
                self.follow(self.host(name).path(path), began)
        (self.scenario.prepare or LabStage.path)(self)
        office.ready(self.host("mail"))
        if self.agents > 1:
            for host, unit in self._agent_units():
                text = f"[Service]\nEnvironment=DRILL_AGENTS={self.agents}\n"
                path = DROP_IN.format(unit=unit)
                host.exec(
                    ["sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path} && systemctl daemon-reload"], input=text
                )

    def _agent_units(self) -> list[tuple[Host, str]]:
        plain = [(self.host("plain-agent"), unit) for unit in ("naive", "common")] if self.plain else []
        return [(self.host("agent"), "drill"), *plain]
