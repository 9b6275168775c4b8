"""What came of a run, as data: for machines, for the table, and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restante.drills import checkers, figures
from restante.drills.history import History, read
from restante.drills.scenario import SIDES

HELD = "held"


@dataclass(frozen=True)
class Result:
    """One history, judged. `sides` are the figures of each stack that took part."""

    path: Path
    history: History
    findings: tuple[str, ...]
    sides: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, path: Path) -> Result:
        history = read(path)
        summaries = {name: side.summary() for name, side in figures.sides(history).items()}
        return cls(path, history, tuple(checkers.judge(history)), summaries)

    @property
    def name(self) -> str:
        return str(self.history.header["scenario"])

    @property
    def cause(self) -> int:
        return int(self.history.header["cause"])

    @property
    def verdict(self) -> str:
        return "; ".join(self.findings) or HELD

    def document(self) -> dict[str, Any]:
        """As `restante drill run --json` has it: a side that took no part is null."""
        header = self.history.header
        shown = {key: header[key] for key in ("about", "seed", "quick", "bound_s", "command")}
        sides = {side: self.sides.get(side) for side in SIDES}
        return {
            "name": self.name,
            "cause": self.cause,
            **shown,
            **sides,
            "verdict": self.verdict,
            "history": self.path.name,
        }


def load(paths: Sequence[Path]) -> list[Result]:
    """In the order of their causes."""
    return sorted(
        (Result.of(path) for path in paths),
        key=lambda result: (result.cause, result.name, result.history.header["seed"]),
    )


@dataclass(frozen=True)
class Row:
    """All runs of one scenario: the medians of each side over the seeds, and every finding."""

    results: tuple[Result, ...]

    @property
    def first(self) -> Result:
        return self.results[0]

    @property
    def findings(self) -> list[str]:
        seeds = len(self.results) > 1
        return [
            f"seed {result.history.header['seed']}: {finding}" if seeds else finding
            for result in self.results
            for finding in result.findings
        ]

    def side(self, name: str) -> dict[str, Any] | None:
        found = [result.sides[name] for result in self.results if name in result.sides]
        return figures.median(found) if found else None


def rows(results: Sequence[Result]) -> list[Row]:
    """One for each scenario."""
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result.name, []).append(result)
    return [Row(tuple(each)) for each in grouped.values()]


def side_in_words(side: dict[str, Any] | None) -> str:
    """lost 12 of 15, blind to the end"""
    if side is None:
        return "none to compare"
    words = [f"lost {side['lost']} of {side['accepted']}"]
    if side["named"]:
        words.append(f"{side['named']} gone and named")
    if side["blind_to_the_end"]:
        words.append("blind to the end")
    elif side["blind_s"]:
        words.append(f"blind {side['blind_s']:.1f} s")
    return ", ".join(words)


def table(results: Sequence[Result]) -> str:
    """For a terminal."""
    lines: list[tuple[str, ...]] = [("", "scenario", "naive", "common practice", "kit", "caught up", "")]
    for row in rows(results):
        kit = row.side("kit") or {}
        caught_up = "-" if kit.get("catch_up_s") is None else f"{kit['catch_up_s']:.1f} s"
        sides = [side_in_words(row.side(side)) for side in SIDES]
        lines.append((str(row.first.cause), row.first.name, *sides, caught_up, "FAILED" if row.findings else HELD))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    failed = [f"{row.first.name}: {finding}" for row in rows(results) for finding in row.findings]
    return "\n".join([*shown, "", *failed, summary(results)])


def summary(results: Sequence[Result]) -> str:
    held = sum(not result.findings for result in results)
    lost = sum(result.sides["kit"]["lost"] for result in results)
    return f"{len(results)} runs of {len(rows(results))} scenarios: {held} held; the kit lost {lost}"
