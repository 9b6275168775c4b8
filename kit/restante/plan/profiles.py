"""The path: which middleboxes stand between agents and edge, and what they do to an idle connection."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from restante.spec.model import Hop


@dataclass(frozen=True)
class Middlebox:
    """One hop. `idle_s` None: it never forgets an idle flow; `age_s` None: it never cuts by age."""

    id: str
    idle_s: int | None
    age_s: int | None
    rearmed_by: str
    on_expiry: str
    confidence: str
    source: str


@cache
def known() -> dict[str, Middlebox]:
    """The dated facts of paths.yml, by id."""
    text = resources.files("restante.plan").joinpath("paths.yml").read_text(encoding="utf-8")
    return {entry["id"]: _middlebox(entry) for entry in yaml.load(text, Loader=yaml.CSafeLoader)}


def _middlebox(entry: dict[str, Any]) -> Middlebox:
    return Middlebox(
        entry["id"], entry.get("idle_s"), entry.get("age_s"),
        entry["rearmed_by"], entry["on_expiry"], entry["confidence"], entry["source"],
    )  # fmt: skip


def resolve(hops: Iterable[Hop]) -> tuple[list[Middlebox], dict[int, str]]:
    """The path's middleboxes, and by index a sentence for each entry that cannot be resolved."""
    found: list[Middlebox] = []
    problems: dict[int, str] = {}
    for index, hop in enumerate(hops):
        base = known().get(hop.id)
        if base:
            found.append(_changed(base, hop))
        elif (hop.idle or hop.age) and hop.rearmed_by:
            found.append(
                Middlebox(
                    hop.id,
                    hop.idle,
                    hop.age,
                    hop.rearmed_by,
                    hop.on_expiry or "silent",
                    "operator",
                    hop.source or "the spec",
                )
            )
        else:
            problems[index] = _unknown(hop)
    return found, problems


def _changed(base: Middlebox, hop: Hop) -> Middlebox:
    if hop.model_fields_set == {"id"}:
        return base
    return Middlebox(
        base.id,
        hop.idle or base.idle_s,
        hop.age or base.age_s,
        hop.rearmed_by or base.rearmed_by,
        hop.on_expiry or base.on_expiry,
        "operator",
        hop.source or f"the spec; as shipped: {base.source}",
    )


def _unknown(hop: Hop) -> str:
    near = difflib.get_close_matches(hop.id, known(), 1, 0.5)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return (
        f"no path profile is called '{hop.id}'{hint}; accepted: an id of docs/reference/paths.md "
        f"({', '.join(list(known())[:4])}, ...), or an entry of your own with id, idle (or age) and rearmed_by"
    )
