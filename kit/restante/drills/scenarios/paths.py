"""Causes 1 to 5, and an age cap (8): what boxes and settings between an agent and its server do."""

from __future__ import annotations

import datetime
import time
from functools import partial

from restante.drills.console import put
from restante.drills.fleet import DOMAIN, MAIL, PLAIN_MAIL
from restante.drills.lab_stage import LabStage
from restante.drills.scenario import BOUND_S, Scenario
from restante.drills.scenarios.shared import CUT, warm_up
from restante.lab.authority import issue

FORGETS_S = 30
SERVERS = f"{{ {MAIL}, {PLAIN_MAIL} }}"
AGE_S = 60
# A flow is young for so long from its first packet on, however busy it is.
AGE_CAP = f"""table inet age {{
  set young {{ type ipv4_addr . inet_service; flags dynamic, timeout; timeout {AGE_S}s; }}
  chain forward {{
    type filter hook forward priority -10;
    ip daddr {SERVERS} tcp flags & (syn | ack) == syn add @young {{ ip saddr . tcp sport }} accept
    ip daddr {SERVERS} ip saddr . tcp sport @young accept
    ip saddr {SERVERS} ip daddr . tcp dport @young accept
    meta l4proto tcp reject with tcp reset
  }}
}}"""
DROP = "table inet fault {{ chain forward {{ type filter hook forward priority -10; {rule} drop; }}; }}"
KIT_TLS = "/etc/restante/tls"
SHORT = datetime.timedelta(seconds=45)
CLOSES_S = 75  # longer than nginx's 60 s and Debian's haproxy's 50 s


def forgotten_flow(stage: LabStage) -> None:
    warm_up(stage)
    stage.hold(FORGETS_S + 3, FORGETS_S + 90)
    stage.strike("the router has forgotten every flow that was idle for 30 s")
    with stage.mails(1):
        stage.sleep(15, 120)


def silence(stage: LabStage, rule: str) -> None:
    warm_up(stage)
    drop, pass_on = partial(stage.nft, DROP.format(rule=rule)), partial(stage.nft, "delete table inet fault")
    with stage.mails(2):
        stage.sleep(3, 10)
        with stage.fault("packets are dropped, without a word", drop, pass_on):
            stage.hold(BOUND_S + 5, BOUND_S * 3)
        stage.sleep(5, 30)


def idle_close(stage: LabStage) -> None:
    """Nothing is sent until the box has closed the naive agent's socket; then mail comes at once."""
    warm_up(stage)
    after = time.monotonic()
    stage.history.wait(CLOSES_S, after, side="naive", what="down")
    stage.strike("an idle connection is closed")
    with stage.mails(10):
        stage.sleep(3, 10)


def _certificates(stage: LabStage, name: str | None, valid: datetime.timedelta) -> None:
    """New files for every server, for its own name or another; who reads them is not our matter."""
    authority = stage.authority
    for host, folder, domain in (
        ("mail", None, DOMAIN), ("plain-mail", "naive", "naive.drill.example"), ("plain-mail", "common", "common.drill.example"),
    ):  # fmt: skip
        chain, key = issue(authority, name or domain, valid)
        paths = (
            (f"/etc/ssl/{folder}.key", f"/etc/ssl/{folder}.pem")
            if folder
            else (f"{KIT_TLS}/privkey.pem", f"{KIT_TLS}/fullchain.pem")
        )
        for path, text in zip(paths, (key, chain), strict=True):
            put(stage.host(host), path, text)


def short_certificate(stage: LabStage) -> None:
    stage.path()
    _certificates(stage, None, SHORT)
    stage.everywhere("mail", "systemctl reload nginx")
    stage.expires = time.monotonic() + SHORT.total_seconds()


def renewed_and_not_read(stage: LabStage) -> None:
    """A tool renews the files. On the plain host nobody tells nginx, which nothing notices until a socket must be opened anew."""
    warm_up(stage)
    _certificates(stage, None, datetime.timedelta(days=90))
    with stage.mails(2):
        time.sleep(max(0.0, stage.expires + 2 - time.monotonic()))
        stage.strike("the first certificate has expired, its successor lies on the disk; all sockets are cut")
        stage.on("edge", CUT)
        stage.sleep(20, 60)


def wrong_name(stage: LabStage) -> None:
    """Somebody installs the certificate of another name, and all sockets are cut some time after."""
    warm_up(stage)

    def install() -> None:
        _certificates(stage, "other.drill.example", datetime.timedelta(days=90))
        stage.sh("plain-mail", "systemctl reload nginx")
        stage.hold(8, 8)  # in which the kit's host would take it
        stage.on("edge", CUT)

    def repair() -> None:
        _certificates(stage, None, datetime.timedelta(days=90))
        stage.sh("plain-mail", "systemctl reload nginx")

    with stage.mails(2):
        with stage.fault("the certificate of another name is installed, and all sockets are cut", install, repair):
            stage.sleep(15, 60)
        stage.sleep(5, 20)


def capped(stage: LabStage) -> None:
    """A box that cuts by age, and a post office that knows of it: what a spec's path with an age gives, set by hand for this one run."""
    stage.path()
    stage.nft(AGE_CAP)
    config = "/etc/restante/restante.toml"
    stage.sh(
        "mail",
        f"sed -i 's/^max_age_s = .*/max_age_s = {AGE_S * 9 // 10}/' {config} && systemctl restart restante-server",
    )


def age_cap(stage: LabStage) -> None:
    warm_up(stage)
    with stage.mails(2):
        stage.hold(AGE_S, AGE_S)
        stage.strike("every connection that is 60 s old is cut, with an RST to whoever sends next")
        stage.sleep(20, 120)


SCENARIOS = (
    Scenario(
        "nat-forgets", 1, "A NAT forgets an idle flow after 30 s, and drops what it does not know.",
        forgotten_flow, lambda stage: stage.path("drop", FORGETS_S),
    ),
    Scenario(
        "nat-resets", 1, "A NAT forgets an idle flow after 30 s, and answers what it does not know with RST: only the server hears it.",
        forgotten_flow, lambda stage: stage.path("reject with tcp reset", FORGETS_S),
    ),
    Scenario("silence", 2, "Packets are dropped both ways. No FIN, no RST.", partial(silence, rule="meta l4proto tcp")),
    Scenario(
        "silence-from-server", 2, "What the server sends is dropped; what the agent sends arrives.",
        partial(silence, rule=f"ip saddr {SERVERS}"),
    ),
    Scenario(
        "silence-from-agent", 2, "What the agent sends is dropped; what the server sends arrives.",
        partial(silence, rule=f"ip daddr {SERVERS}"),
    ),
    Scenario("proxy-timeout", 3, "nginx closes a socket that was idle for its default of 60 s, and mail comes at that moment.", idle_close),
    Scenario(
        "certificate-expires", 4, "A certificate expires during the run. It was renewed on disk; then every socket is cut.",
        renewed_and_not_read, short_certificate,
    ),
    Scenario("certificate-wrong-name", 4, "The certificate of another name is installed; then every socket is cut.", wrong_name),
    Scenario("age-cap", 8, "A balancer cuts every connection that is 60 s old, however busy it is.", age_cap, capped),
    Scenario(
        "idle-timeout", 5, "The server's end, a haproxy with Debian's 50 s, closes sockets sooner than the agent believes.",
        idle_close, lambda stage: stage.balancer(),
    ),
)  # fmt: skip
