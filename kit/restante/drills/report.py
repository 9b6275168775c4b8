"""The page that a person looks at, and the same for machines: one file each, which need nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from restante.drills import results, timeline
from restante.drills.results import Result
from restante.drills.scenario import SIDES

PAGE, DOCUMENT = "report.html", "report.json"
FIGURES = {
    "sent": "sent", "accepted": "accepted (250)", "delivered": "handled", "acknowledged": "acknowledged", "dead": "dead letters",
    "named": "gone and named",
    "lost": "lost", "duplicates_explained": "repeats, explained", "duplicates_unexplained": "repeats, unexplained",
    "blind_s": "blind, s",
    "catch_up_s": "caught up after, s", "largest_gap_s": "longest wait, s", "reconnects": "reconnects",
}  # fmt: skip
_ONLY_THE_KITS = {"acknowledged", "dead", "named"}  # the others keep no mail that could have such a state


def document(found: Sequence[Result]) -> dict[str, Any]:
    return {"scenarios": [result.document() for result in found]}


def write(found: Sequence[Result], folder: Path) -> Path:
    """Both files; where the page is."""
    (folder / DOCUMENT).write_text(json.dumps(document(found), indent=2) + "\n")
    (folder / PAGE).write_text(page(found))
    return folder / PAGE


def page(found: Sequence[Result]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    rows = results.rows(found)
    return environment.get_template("report.html.j2").render(
        rows=rows, sides=SIDES, words=results.side_in_words, figures=FIGURES, shown=shown, draw=timeline.draw,
        results=found, lost=sum(result.sides["kit"]["lost"] for result in found), failed=[row for row in rows if row.findings],
        suffered=sum(row.side("naive") is not None for row in rows),
    )  # fmt: skip


def shown(side: str, key: str, value: Any) -> str:
    """A figure as a person reads it."""
    if value is None or (key in _ONLY_THE_KITS and side != "kit"):
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
