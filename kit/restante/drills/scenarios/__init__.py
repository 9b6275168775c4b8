"""Every scenario, in the order of its cause."""

from __future__ import annotations

from restante.drills.scenario import Scenario
from restante.drills.scenarios import crashes, paths, stores

SCENARIOS: tuple[Scenario, ...] = tuple(
    sorted((*paths.SCENARIOS, *crashes.SCENARIOS, *stores.SCENARIOS), key=lambda scenario: scenario.cause)
)
