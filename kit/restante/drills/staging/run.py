"""Plays scenarios on staging hosts, one after the other, and leaves them as they were found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from restante.drills.history import Writer
from restante.drills.run import Order, Watcher, perform
from restante.drills.scenario import Scenario
from restante.drills.staging import lodging
from restante.drills.staging.hosts import AGAIN_S, Hosts
from restante.drills.staging.stage import StagingStage
from restante.errors import FoundError, InputError


def fitting(hosts: Hosts, chosen: Sequence[Scenario], watcher: Watcher, *, named: bool) -> list[Scenario]:
    """What can be played on these hosts. Raises InputError for one that was asked for by its name and cannot."""
    why = {each.name: hosts.lacks(each) for each in chosen}
    for name, reason in why.items():
        if reason and named:
            raise InputError(f"{name} cannot be played on these hosts: {reason}")
        if reason:
            watcher.said(f"{name} is left out: {reason}")
    return [each for each in chosen if not why[each.name]]


def play(orders: Sequence[Order], hosts: Hosts, watcher: Watcher) -> None:
    """Raises FoundError when the hosts are not healthy to begin with, or after a scenario."""
    for line in announcement(orders, hosts):
        watcher.said(line)
    _demand_health(hosts, 0, "nothing was broken yet, and these hosts are not well; `restante status` shows more")
    hosts.demand_ways()
    with hosts.alone():
        for run in lodging.sweep(hosts.of("post")):
            watcher.said(f"what a run before left is removed: {run}")
        for order in orders:
            perform(order, watcher, partial(_stage, order, hosts))
            _demand_health(
                hosts, AGAIN_S, f"no more is played: {AGAIN_S} s after {order.name} these hosts are not well"
            )


def announcement(orders: Sequence[Order], hosts: Hosts) -> Iterator[str]:
    """What will be done to which hosts."""
    yield "these hosts are about to be broken; each fault heals when this command ends, however it ends"
    for scenario in dict.fromkeys(order.scenario for order in orders):
        broken = {host.name: host.address for tier in scenario.machines for host in hosts.of(tier)}
        where = ", ".join(f"{name} ({address})" for name, address in broken.items())
        yield f"  {scenario.name}: {scenario.about} {where}"


def _demand_health(hosts: Hosts, limit_s: float, what: str) -> None:
    try:
        hosts.demand_health(limit_s)
    except FoundError as error:
        raise FoundError(f"drill: {what}:\n{error}") from None


@contextmanager
def _stage(order: Order, hosts: Hosts, history: Writer) -> Iterator[StagingStage]:
    stage = StagingStage(hosts, history, order.scenario, order.seed, quick=order.quick)
    try:
        stage.open()
        yield stage
    finally:
        stage.clear()
