"""Histories that are not what they seem: tests/forged/clean.jsonl with something put in or taken away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from restante.drills.history import History, read

FORGED = Path(__file__).parents[2] / "forged"
CLEAN = FORGED / "clean.jsonl"


def cases(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FORGED / file).read_text())
    return found


def forged(case: dict[str, Any]) -> History:
    clean = read(CLEAN)
    events = [dict(event) for event in clean.events]
    if change := case.get("adopt"):
        theirs = [{**event, "side": change["to"]} for event in events if event["side"] == change["from"]]
        events = [event for event in events if event["side"] != change["to"]] + theirs
    for wanted in case.get("drop", []):
        left = [event for event in events if not wanted.items() <= event.items()]
        assert len(left) < len(events), f"nothing is {wanted}: the case forges nothing"
        events = left
    for change in case.get("change", []):
        meant = [event for event in events if change["match"].items() <= event.items()]
        assert meant, f"nothing is {change['match']}: the case forges nothing"
        for event in meant:
            event.update(change["to"])
    added = case.get("add", [])
    events += [added] if isinstance(added, dict) else added
    return History({**clean.header, **case.get("header", {})}, tuple(sorted(events, key=lambda event: event["at"])))


def written(path: Path, history: History) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in (history.header, *history.events)))
    return path
