"""Causes 6 to 9, 12 to 14: hosts, processes and handlers that stop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from restante.drills import office
from restante.drills.fleet import INBOXES
from restante.drills.scenario import Scenario
from restante.drills.scenarios.paths import CUT, warm_up
from restante.drills.stage import Stage
from restante.lab.host import Host
from restante.plan.agents import WATCHDOG_S

STALLED_BOUND_S = WATCHDOG_S + 15.0  # systemd's watchdog, and a restart
POISON_ATTEMPTS = 2  # 5 by default; with their growing pauses that is seven minutes


def power_cut(stage: Stage, role: str) -> None:
    """Both hosts of a role at once: first their cables, then everything in them."""
    warm_up(stage)
    cut, on = partial(stage.each, role, Host.power_cut), partial(stage.each, role, Host.power_on)
    with stage.mails(2):
        stage.sleep(3, 10)
        with stage.fault(f"power cut: {role}", cut, on):
            stage.sleep(6, 30)
        stage.hold(50, 120)


def router_cut(stage: Stage) -> None:
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


def deaths(stage: Stage) -> None:
    """kill -9 of each program on the way in turn, under load, and of each agent with a mail in its hands."""
    warm_up(stage)
    with stage.mails(4):
        for _ in range(2 if stage.quick else 6):
            stage.sleep(2, 5)
            stage.strike("kill -9: every server")
            stage.units("kill -s KILL", "mail")
            stage.sleep(2, 5)
            stage.strike("kill -9: Postfix, the kit's alone")
            stage.sh("mail", "pkill -KILL -x master; systemctl restart postfix")
            n = stage.send("slow")
            for side in stage.sides:
                stage.history.wait(20, side=side, what="handling", n=n)
            stage.strike("kill -9: every agent, in the middle of its work")
            stage.units("kill -s KILL", "agent")
        stage.sleep(5)


def planned(stage: Stage) -> None:
    warm_up(stage)
    steps = {
        "nginx is reloaded": partial(stage.everywhere, "mail", "systemctl reload nginx"),
        "the server is restarted, as a deploy does": partial(stage.units, "restart", "mail"),
        "nginx is restarted, as an upgrade does": partial(stage.everywhere, "mail", "systemctl restart nginx"),
    }
    with stage.mails(10):
        for name, step in steps.items():
            stage.sleep(4, 20)
            stage.strike(name)
            step()
        stage.sleep(6, 30)


def stalled_proxy(stage: Stage) -> None:
    warm_up(stage)
    stop, go = (partial(stage.everywhere, "mail", f"systemctl kill -s {name} nginx") for name in ("STOP", "CONT"))
    with stage.mails(2):
        stage.sleep(2, 10)
        with stage.fault("SIGSTOP: nginx, on every mail host", stop, go):
            stage.hold(45, 120)
        stage.sleep(3, 20)


def stalled_agent(stage: Stage) -> None:
    warm_up(stage)
    with stage.mails(1):
        stage.sleep(2, 10)
        stage.strike("SIGSTOP: every agent, and nobody is there to see it")
        stage.units("kill -s STOP", "agent")
        stage.hold(STALLED_BOUND_S + 2, STALLED_BOUND_S * 2)


def blocked(stage: Stage) -> None:
    """A handler that computes, or calls a library that waits, for 50 s."""
    warm_up(stage)
    with stage.mails(2):
        stage.sleep(2, 10)
        n = stage.send("block")
        for side in stage.sides:
            stage.expect("handling", 20, side=side, n=n)
        stage.strike("every agent's handler blocks its program for 50 s")
        stage.hold(55, 120)


def poison(stage: Stage) -> None:
    office.ask(stage.host("mail"), f"/inboxes/{INBOXES[0]}@drill.example", {"attempts": POISON_ATTEMPTS}, "PATCH")
    warm_up(stage)
    with stage.mails(4):
        stage.sleep(2, 5)
        stage.strike("a mail that no agent can handle")
        n = stage.send("poison")
        stage.sleep(6, 20)
    stage.until(lambda: n in office.dead(stage.host("mail"), 1), 60, "a dead letter")


def everything(stage: Stage) -> None:
    """Each part is restarted, three times in the long run, in an order that the seed decides."""
    warm_up(stage)
    router = stage.host("router")

    def restart_router() -> None:
        router.reboot()
        stage.path()

    steps: list[tuple[str, Callable[[], str | None]]] = [
        ("nginx", partial(stage.everywhere, "mail", "systemctl restart nginx")),
        ("the servers", partial(stage.units, "restart", "mail")),
        ("the agents", partial(stage.units, "restart", "agent")),
        ("Postfix", partial(stage.sh, "mail", "systemctl restart postfix")),
        ("the mail hosts", partial(stage.each, "mail", Host.reboot)),
        ("the agents' hosts", partial(stage.each, "agent", Host.reboot)),
        ("the router", restart_router),
    ] * (1 if stage.quick else 3)
    stage.random.shuffle(steps)
    with stage.mails(2):
        for name, step in steps:
            stage.strike(f"restart: {name}")
            step()
            stage.sleep(2, 10)
        stage.hold(45, 60)


def herd(stage: Stage) -> None:
    warm_up_all(stage)
    with stage.mails(20):
        stage.sleep(2, 5)
        stage.strike("every socket is cut at once")
        stage.everywhere("mail", CUT)
        stage.sleep(15, 90)


def warm_up_all(stage: Stage) -> None:
    for _ in range(stage.agents):
        stage.send()
    for side in stage.sides:
        for n in range(1, stage.agents + 1):
            stage.expect("handled", 30, side=side, n=n)


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
    Scenario("all-cut", 14, "All agents are cut at once, while twenty mails a second come.", herd, agents=len(INBOXES)),
)  # fmt: skip
