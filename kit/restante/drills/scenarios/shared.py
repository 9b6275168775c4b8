"""What is played alike in a lab and on staging hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from restante.drills import office
from restante.drills.stage import Stage

# nginx's own children, and no other process of that name.
CUT = "pkill -KILL -P $(systemctl show -P MainPID nginx)"
# master, by the file that it holds: other programs are called so too.
KILL_POSTFIX = "kill -KILL $(cat /var/spool/postfix/pid/master.pid)"
POISON_ATTEMPTS = 2  # 5 by default; with their growing pauses that is seven minutes
Step = tuple[str, Callable[[], object]]


def warm_up(stage: Stage) -> None:
    """Proof that all works before anything is broken."""
    for _ in range(3):
        stage.send()
    for side in stage.sides:
        stage.expect("handled", 20, side=side, n=3)


def warm_up_all(stage: Stage) -> None:
    for _ in range(stage.agents):
        stage.send()
    for side in stage.sides:
        for n in range(1, stage.agents + 1):
            stage.expect("handled", 30, side=side, n=n)


def deaths(stage: Stage) -> None:
    """kill -9 of each program on the way in turn, under load, and of each agent with a mail in its hands."""
    warm_up(stage)
    with stage.mails(4):
        for _ in range(2 if stage.quick else 6):
            stage.sleep(2, 5)
            stage.strike("kill -9: every server")
            stage.units("kill -s KILL", "mail")
            stage.sleep(2, 5)
            stage.broken_for(
                0, 0, "kill -9: Postfix, the kit's alone", "post", KILL_POSTFIX, "systemctl restart postfix"
            )
            n = stage.send("slow")
            for side in stage.sides:
                stage.history.wait(20, side=side, what="handling", n=n)
            stage.strike("kill -9: every agent, in the middle of its work")
            stage.units("kill -s KILL", "agent")
        stage.sleep(5)


def planned(stage: Stage) -> None:
    warm_up(stage)
    steps = {
        "nginx is reloaded": partial(stage.on, "edge", "systemctl reload nginx"),
        "the server is restarted, as a deploy does": partial(stage.units, "restart", "mail"),
        "nginx is restarted, as an upgrade does": partial(stage.on, "edge", "systemctl restart nginx"),
    }
    with stage.mails(10):
        for name, step in steps.items():
            stage.sleep(4, 20)
            stage.strike(name)
            step()
        stage.sleep(6, 30)


def stalled_proxy(stage: Stage) -> None:
    warm_up(stage)
    stop, go = ("systemctl kill -s STOP nginx", "systemctl kill -s CONT nginx")
    with stage.mails(2):
        stage.sleep(2, 10)
        stage.broken_for(45, 120, "SIGSTOP: nginx, on every host that has one", "edge", stop, go)
        stage.sleep(3, 20)


def away(stage: Stage) -> None:
    """What agents notice: heartbeats on their sockets, which hold, say that the store can't be asked."""
    warm_up(stage)
    with stage.mails(2):
        stage.sleep(3, 10)
        stage.broken_for(
            45,
            3600,
            "PostgreSQL is stopped",
            "store",
            f"systemctl stop {stage.engine}",
            f"systemctl start {stage.engine}",
        )
        stage.sleep(3, 10)


def poison(stage: Stage) -> None:
    host, inbox = stage.posts[0], stage.inboxes[:1]
    office.ask(host, f"/inboxes/{inbox[0]}", {"attempts": POISON_ATTEMPTS}, "PATCH")
    warm_up(stage)
    with stage.mails(4):
        stage.sleep(2, 5)
        stage.strike("a mail that no agent can handle")
        n = stage.send("poison")
        stage.sleep(6, 20)
    stage.until(lambda: n in office.dead(host, inbox), 60, "a dead letter")


def restarts(stage: Stage, more: Sequence[Step]) -> None:
    """Each part, three times in the long run, in an order that the seed decides; `more` is what only this kind of hosts has."""
    warm_up(stage)
    steps: list[Step] = [
        ("nginx", partial(stage.on, "edge", "systemctl restart nginx")),
        ("the servers", partial(stage.units, "restart", "mail")),
        ("the agents", partial(stage.units, "restart", "agent")),
        ("Postfix", partial(stage.on, "post", "systemctl restart postfix")),
        *more,
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
        stage.on("edge", CUT)
        stage.sleep(15, 90)
