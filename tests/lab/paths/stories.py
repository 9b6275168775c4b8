"""What happens on the path, by the fault's name, and what is measured of it. Seconds where a name ends in `_s`."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from edge import Edge
from network import MOVED, NAME, OFFICE, Network, inside
from scene import Event, Scene

RULES = {
    "silence": ["meta l4proto tcp drop"],
    "one-way-up": ['iifname "dn0" meta l4proto tcp drop'],
    "one-way-down": ['iifname "up0" meta l4proto tcp drop'],
    "reset": ['iifname "dn0" ct state established meta l4proto tcp reject with tcp reset'],
    "name-moved": [f"ip daddr {OFFICE} drop", f"ip saddr {OFFICE} drop"],
}
# The post office lets go of a socket that was silent for 45 s, looking every 5 s: one sleep ends before that, the other after it.
SLEPT_S = {"agent-stopped": 40.0, "agent-stopped-for-long": 55.0}
BEATS = 4  # 45 s and more: longer than what is allowed for noticing that a path is dead


@dataclass
class Stage:
    network: Network
    scene: Scene
    edge: Edge | None


Story = Callable[[Stage], dict[str, object]]


@contextlib.contextmanager
def disturbed(stage: Stage, fault: str) -> Iterator[None]:
    """For as long as the block runs. A router that forgets needs nothing but time."""
    scene = stage.scene
    with contextlib.ExitStack() as ends:
        if fault in RULES:
            ends.enter_context(stage.network.ruled(RULES[fault]))
        if fault == "name-moved":
            stage.network.name(MOVED)
            ends.pop_all()  # the old address stays silent
        elif fault == "office-stopped":
            scene.office.send_signal(signal.SIGSTOP)
            ends.callback(scene.office.send_signal, signal.SIGCONT)
        elif fault == "office-killed":
            scene.office.kill()
            scene.office.wait()
        elif fault == "proxy-killed":
            assert stage.edge
            stage.edge.kill()
        yield
    if fault == "office-killed":
        scene.office = scene.serve()
    elif fault == "proxy-killed" and stage.edge:
        stage.edge.start()


def cut(fault: str, stage: Stage) -> dict[str, object]:
    """The connection dies; it is known; the path is healed; what came meanwhile and afterwards is handled."""
    scene, begun = stage.scene, time.monotonic()
    with disturbed(stage, fault):
        if not fault.startswith("office"):
            scene.send("during")
        down = scene.until("down", begun)
    healed = time.monotonic()
    scene.send("after")
    up = scene.until("up", down["at"])
    handled = scene.handled(*scene.sent)
    return scene.story(
        detected_s=down["at"] - begun, zombie_s=down["zombie_s"], blind_s=up["at"] - down["at"],
        healed_to_up_s=up["at"] - healed, caught_up_s=caught_up(up, handled),
    )  # fmt: skip


def caught_up(up: Event, handled: list[Event]) -> float:
    """From the moment a connection stood again; polling may have been faster."""
    return max(0.0, max(float(event["at"]) for event in handled) - float(up["at"]))


def slow_and_dead(stage: Stage) -> dict[str, object]:
    """Each answer comes 6 s late, and goes on coming: mail must come on that path, and afterwards all must be as before."""
    scene, link, begun = stage.scene, stage.network.link, time.monotonic()
    assert link
    link.slow(up_s=0, down_s=6)
    sent = scene.send("during")
    down = scene.until("down", begun)
    (during,) = scene.handled("during")
    later = scene.send("during, again")
    (again,) = scene.handled("during, again")
    link.slow(up_s=0, down_s=0)
    healed = scene.send("after")
    up = scene.until("up", down["at"])
    (after,) = scene.handled("after")
    return scene.story(
        detected_s=down["at"] - begun, zombie_s=down["zombie_s"], delivered_slowly_s=[during["at"] - sent, again["at"] - later],
        healed_to_up_s=max(0.0, up["at"] - healed), channel=up["channel"], caught_up_s=after["at"] - max(healed, up["at"]),
    )  # fmt: skip


def slow_and_alive(stage: Stage) -> dict[str, object]:
    """2 s each way: the pong takes 4 s of the 5 s it has."""
    scene, link, begun = stage.scene, stage.network.link, time.monotonic()
    assert link
    link.slow(up_s=2, down_s=2)
    sent = scene.send("during")
    (during,) = scene.handled("during")
    beat = scene.until("beat", begun, count=BEATS)
    return scene.story(
        watched_s=beat["at"] - begun, rtt_s=beat["rtt_s"], delivered_slowly_s=during["at"] - sent, ups=ups(scene)
    )


def reloaded(stage: Stage) -> dict[str, object]:
    """The old worker keeps the socket until its shutdown timeout; nobody tells the agent."""
    scene, edge, begun = stage.scene, stage.edge, time.monotonic()
    assert edge
    edge.reload()
    sent = scene.send("during the drain")
    (during,) = scene.handled("during the drain")
    down = scene.until("down", begun)
    scene.send("while blind")
    up = scene.until("up", down["at"])
    handled = scene.handled(*scene.sent)
    return scene.story(
        drained_s=down["at"] - begun, told_s=max(0.0, during["at"] - sent), blind_s=up["at"] - down["at"],
        caught_up_s=caught_up(up, handled),
    )  # fmt: skip


def renewed(stage: Stage) -> dict[str, object]:
    """Another certificate, a reload, and `reconnect` from the post office: a new connection stands before the old one is left."""
    scene, edge, begun = stage.scene, stage.edge, time.monotonic()
    assert edge
    wanted = edge.certify("second")
    edge.reload()
    while served() != wanted:
        assert time.monotonic() < begun + 30, "nginx did not take the certificate"
    scene.office.send_signal(signal.SIGUSR1)
    moved = scene.until("rotated", begun)
    sent = scene.send("after")
    (after,) = scene.handled("after")
    scene.until("beat", moved["at"], count=4)  # by then the old worker is gone
    return scene.story(moved_s=moved["at"] - begun, told_s=max(0.0, after["at"] - sent), ups=ups(scene))


def served() -> str:
    code = f"import ssl; print(ssl.get_server_certificate(('{NAME}', 443)), end='')"
    return subprocess.run(
        [*inside("agent"), sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def stopped(fault: str, stage: Stage) -> dict[str, object]:
    """The agent's process stands still, as under a debugger or a machine without time for it."""
    scene = stage.scene
    scene.until("beat", count=2)  # the post office heard it just now
    scene.agent.send_signal(signal.SIGSTOP)
    scene.send("during")
    threading.Event().wait(SLEPT_S[fault])  # this is the fault itself
    scene.agent.send_signal(signal.SIGCONT)
    woken = time.monotonic()
    (during,) = scene.handled("during")
    beat = scene.until("beat", woken)  # from the old connection, or by another
    sent = scene.send("after")
    (after,) = scene.handled("after")
    return scene.story(
        caught_up_s=during["at"] - woken, woken_to_beat_s=beat["at"] - woken, told_s=max(0.0, after["at"] - sent), lag_s=after["lag_s"]
    )  # fmt: skip


def ups(scene: Scene) -> int:
    return sum(event["what"] == "up" for event in scene.events)


CUTS = (
    "nat-silent", "nat-reset", "silence", "one-way-up", "one-way-down", "office-stopped", "name-moved",
    "office-killed", "reset", "proxy-killed",
)  # fmt: skip
STORIES: dict[str, Story] = {
    **{fault: partial(cut, fault) for fault in CUTS},
    "slow-and-dead": slow_and_dead, "slow-and-alive": slow_and_alive,
    "proxy-reloaded": reloaded, "proxy-renewed": renewed, **{fault: partial(stopped, fault) for fault in SLEPT_S},
}  # fmt: skip
