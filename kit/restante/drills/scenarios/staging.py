"""Every scenario for staging hosts, in the order of its cause: what makes sense where nobody owns the network and nobody may cut the power.

`machines` are the tiers that are broken. There are no other stacks to compare with.
"""

from __future__ import annotations

from restante.drills.scenario import BOUND_S, KIT, MOST_AGENTS, Scenario
from restante.drills.scenarios.shared import (
    away,
    deaths,
    herd,
    planned,
    poison,
    restarts,
    stalled_proxy,
    warm_up,
)
from restante.drills.stage import Stage

# A table of its own: it goes as a whole, and touches nobody's rules. ssh, and what hosts say to each other, goes on.
TABLE = "restante_drill"
RULES = " ".join(
    f'chain {hook} {{ type filter hook {hook} priority -10; {interface} != "lo" tcp {port} 443 drop; }};'
    for hook, interface, port in (("input", "iifname", "dport"), ("output", "oifname", "sport"))
)
NEEDS_NFT = "command -v nft >/dev/null || { echo 'silence is made with nft, which is not here: apt-get install nftables' >&2; exit 1; }"
DROP = f"{NEEDS_NFT}; nft 'table inet {TABLE} {{ {RULES} }}'"
PASS = f"! nft list table inet {TABLE} >/dev/null 2>&1 || nft delete table inet {TABLE}"


def silence(stage: Stage) -> None:
    warm_up(stage)
    with stage.mails(2):
        stage.sleep(3, 10)
        stage.broken_for(BOUND_S + 5, BOUND_S * 3, "packets are dropped, without a word", "edge", DROP, PASS)
        stage.sleep(5, 30)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "silence", 2, "The edges drop every packet of their port 443, both ways. No FIN, no RST.",
        silence, machines=("edge",), sides=KIT,
    ),
    Scenario("deaths", 7, "kill -9 of the post office and of Postfix under load, and of the agent with a mail in its hands.",
             deaths, machines=("post",), sides=KIT),
    Scenario("planned-cuts", 8, "A reload of nginx, a deploy's restart, a restart of nginx, while ten mails a second come.",
             planned, machines=("edge", "post"), sides=KIT),
    Scenario("stalled-proxy", 9, "What the agent is connected to stops (SIGSTOP), its kernel goes on acknowledging.",
             stalled_proxy, machines=("edge",), sides=KIT),
    Scenario("store-away", 10, "PostgreSQL is stopped for longer than Postfix's first tries.",
             away, machines=("store",), sides=KIT),
    Scenario("poison", 12, "A mail that makes its handler fail, each time.", poison, machines=("post",), sides=KIT),
    Scenario("restart-everything", 13, "nginx, the post office, Postfix and the agent are restarted, in random order, under load.",
             lambda stage: restarts(stage, ()), machines=("edge", "post"), sides=KIT),
    Scenario("all-cut", 14, "All agents are cut at once, while twenty mails a second come.",
             herd, machines=("edge",), sides=KIT, agents=MOST_AGENTS),
)  # fmt: skip
