"""Is a component up: its units active, the new generation running, its sockets open, and does it stay so?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from . import units
from .errors import FailedError, RefusedError
from .manifest import Component
from .system import Host

DEADLINE = 15.0
# Long enough for a program that dies at start, under systemd's default RestartSec of 100 ms, to have been restarted.
STEADY = 1.5
POLL = 0.1
# A copy of a whole store to a member that had none: its own program gives up before.
CLUSTER_LIMIT_S = 300


def running(host: Host, component: Component) -> str | None:
    """The generation that the live process says it runs; None where nothing answers."""
    answer = host.system.run(component.running, timeout=5)
    return answer.out.strip() if answer.code == 0 else None


def wait(host: Host, component: Component, deadline: float = DEADLINE) -> None:
    """Wait until the component is up. A unit in state `failed` gets no second look: systemd has given up on it."""
    end = host.system.now() + deadline
    while problem := next(_problems(host, component), None):
        given_up = any(unit.active == "failed" for unit in units.states(host, component.units).values())
        if given_up or host.system.now() >= end:
            raise FailedError(f"{problem}{units.journal(host, component.units)}", component.name)
        host.system.pause(POLL)


def spare(host: Host, component: Component) -> None:
    """Others take over what the component does for them. The program is the release's that serves: without one nobody depends on it."""
    if not component.before or not host.path(component.before[0]).exists():
        return
    done = host.system.run(component.before, timeout=CLUSTER_LIMIT_S)
    if done.code != 0:
        raise RefusedError(f"{component.name}: {done.said}; nothing was changed on this host")


def settled(host: Host, component: Component) -> None:
    """The component takes its part among the other hosts again, which may take minutes: before that no further host is touched."""
    if not component.settled:
        return
    done = host.system.run(component.settled, timeout=CLUSTER_LIMIT_S)
    if done.code != 0:
        raise FailedError(f"{done.said}{units.journal(host, component.units)}", component.name)


def steady(host: Host, components: Sequence[Component], seconds: float = STEADY) -> None:
    """A program that starts and dies at once looks active between two restarts: watch for a moment."""
    names = sorted({unit for component in components for unit in component.units})
    first, end = units.states(host, names), host.system.now() + seconds
    while names and host.system.now() < end:
        host.system.pause(POLL)
        for name, unit in units.states(host, names).items():
            if not unit.up or unit.restarts != first[name].restarts:
                owner = next(component.name for component in components if name in component.units)
                message = f"{name} does not stay up: {unit.active} ({unit.sub}), {unit.restarts} restarts"
                raise FailedError(f"{message}{units.journal(host, [name])}", owner)


def _problems(host: Host, component: Component) -> Iterator[str]:
    for name, unit in units.states(host, component.units).items():
        if not unit.up:
            yield f"{name} is {unit.active} ({unit.sub}), not active"
    if component.running and (found := running(host, component)) != component.generation:
        says = f"the running process says generation {found}" if found else "no running process tells its generation"
        yield f"{says}; {component.generation} was expected (asked with `{' '.join(component.running)}`)"
    for address in component.listens:
        if not host.system.connects(address):
            yield f"{address} accepts no connection"
