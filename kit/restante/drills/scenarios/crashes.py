"""Causes 6 to 9, 12 to 14: hosts, processes and handlers that stop."""

from __future__ import annotations

from functools import partial

from restante.drills.lab_stage import LabStage
from restante.drills.scenario import MOST_AGENTS, Scenario
from restante.drills.scenarios.shared import (
    Step,
    deaths,
    herd,
    planned,
    poison,
    restarts,
    stalled_proxy,
    warm_up,
)
from restante.lab.host import Host
from restante.plan.agents import WATCHDOG_S

STALLED_BOUND_S = WATCHDOG_S + 15.0  # systemd's watchdog, and a restart


def power_cut(stage: LabStage, role: str) -> None:
    """Both hosts of a role at once: first their cables, then everything in them."""
    warm_up(stage)
    cut, on = partial(stage.each, role, Host.power_cut), partial(stage.each, role, Host.power_on)
    with stage.mails(2):
        stage.sleep(3, 10)
        with stage.fault(f"power cut: {role}", cut, on):
            stage.sleep(6, 30)
        stage.hold(50, 120)


def router_cut(stage: LabStage) -> None:
    warm_up(stage)
    router = stage.host("router")

    def on() -> None:
        router.power_on()
        stage.path()

    with stage.mails(2):
        stage.sleep(3, 10)
        with stage.fault("power cut: the router, which remembers no flow", router.power_cut, on):
            stage.sleep(4, 20)
        stage.hold(45, 120)


def stalled_agent(stage: LabStage) -> None:
    warm_up(stage)
    with stage.mails(1):
        stage.sleep(2, 10)
        stage.strike("SIGSTOP: every agent, and nobody is there to see it")
        stage.units("kill -s STOP", "agent")
        stage.hold(STALLED_BOUND_S + 2, STALLED_BOUND_S * 2)


def blocked(stage: LabStage) -> None:
    """A handler that computes, or calls a library that waits, for 50 s."""
    warm_up(stage)
    with stage.mails(2):
        stage.sleep(2, 10)
        n = stage.send("block")
        for side in stage.sides:
            stage.expect("handling", 20, side=side, n=n)
        stage.strike("every agent's handler blocks its program for 50 s")
        stage.hold(55, 120)


def everything(stage: LabStage) -> None:
    router = stage.host("router")

    def restart_router() -> None:
        router.reboot()
        stage.path()

    own: list[Step] = [
        ("the mail hosts", partial(stage.each, "mail", Host.reboot)),
        ("the agents' hosts", partial(stage.each, "agent", Host.reboot)),
        ("the router", restart_router),
    ]
    restarts(stage, own)


SCENARIOS = (
    Scenario(
        "power-cut-server", 6, "Power cut of the mail host: the agent's half of the connection stays open.",
        partial(power_cut, role="mail"),
    ),
    Scenario(
        "power-cut-agent", 6, "Power cut of the agent's host: the server's half of the connection stays open.",
        partial(power_cut, role="agent"),
    ),
    Scenario("power-cut-router", 6, "Power cut of the router between them: both halves stay open, and nothing joins them.", router_cut),
    Scenario("deaths", 7, "kill -9 between a mail's arrival and the end of its handling, at every step.", deaths),
    Scenario("planned-cuts", 8, "A reload of nginx, a deploy's restart, a restart of nginx, while ten mails a second come.", planned),
    Scenario("stalled-proxy", 9, "What the agent is connected to stops (SIGSTOP), its kernel goes on acknowledging.", stalled_proxy),
    Scenario(
        "stalled-agent", 9, "The agent process stops (SIGSTOP), its kernel goes on acknowledging.",
        stalled_agent, bound_s=STALLED_BOUND_S,
    ),
    Scenario("blocked-agent", 9, "A handler blocks its program for 50 s, as a long computation does.", blocked),
    Scenario("poison", 12, "A mail that makes its handler fail, each time.", poison),
    Scenario("restart-everything", 13, "Every part is restarted, in random order, under load.", everything),
    Scenario("all-cut", 14, "All agents are cut at once, while twenty mails a second come.", herd, agents=MOST_AGENTS),
)  # fmt: skip
