"""What a scenario is, and what of it must hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BOUND_S = 40.0  # G5: a silent drop is found within this time
SIDES = ("naive", "common", "kit")
KIT = ("kit",)
MOST_AGENTS = 10
ROUTED = ("mail", "agent", "plain-mail", "plain-agent", "router")


@dataclass(frozen=True)
class Scenario:
    """`cause` counts as docs/explanation/drills.md does; `about` is one sentence. `play` is what happens between open and close, on a
    stage of the kind that the scenario is made for.

    `prepare` is done before any agent connects; in a lab, without it, the router's way is laid. `bound_s`: how long the kit's side may
    be blind. `machines`: the hosts of a lab's fleet; of staging hosts the tiers that are broken. `restores`: its fault is healed by
    a restore of the store.
    """

    name: str
    cause: int
    about: str
    play: Callable[[Any], None]
    prepare: Callable[[Any], None] | None = None
    bound_s: float = BOUND_S
    agents: int = 1
    fleet: str = "sqlite"
    machines: tuple[str, ...] = ROUTED
    sides: tuple[str, ...] = SIDES
    restores: bool = False
