"""The page that a person looks at: in a browser, narrow and wide, light and dark; and without any colour."""

from __future__ import annotations

import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, PAPER, Browser
from forgery import forged, written

from restante.drills import report, timeline
from restante.drills.results import Result, load

LOST = {"drop": [{"side": "kit", "what": "handled", "n": 5}], "header": {"scenario": "lossy"}}
MARKS = [field.name for field in fields(timeline.Lane) if field.name not in {"name", "y"}]


@pytest.fixture
def found(tmp_path: Path) -> list[Result]:
    """One scenario that holds, and one that does not."""
    histories = {"held": forged({}), "lossy": forged(LOST)}
    return load([written(tmp_path / f"{name}.jsonl", history) for name, history in histories.items()])


class Element:
    def __init__(self, tag: str, attributes: dict[str, Any], below: list[Element]) -> None:
        self.tag, self.attributes, self.above = tag, attributes, list(below)
        self.classes, self.words = (attributes.get("class") or "").split(), ""

    def within(self, **wanted: str) -> bool:
        return any(wanted.items() <= {"tag": each.tag, **each.attributes}.items() for each in self.above)


class Page(HTMLParser):
    """Its elements, each with its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in {"meta", "br"}:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs), self._open))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for each in self._open:
            each.words += data

    def texts(self, colour: str) -> set[str]:
        return {each.words.strip() for each in self.elements if colour in each.classes}


# -- in a browser


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("mode", PAPER)
def test_the_page_is_whole_in_a_browser(found: list[Result], tmp_path: Path, width: int, mode: str) -> None:
    seen = Browser(tmp_path, width, mode).measure(report.page(found))
    assert seen == {"paper": PAPER[mode], "window": width, "sticks_out": 0, "drawn": 2}


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_what_is_wider_than_a_narrow_window_is_noticed(found: list[Result], tmp_path: Path) -> None:
    too_wide = report.page(found).replace("</body>", '<p style="min-width: 30rem">-</p></body>')
    seen = Browser(tmp_path, 420, "light").measure(too_wide)
    assert seen["window"] == 420
    assert seen["sticks_out"] > 0


# -- without colour


def test_whatever_is_good_or_bad_says_so_in_words(found: list[Result]) -> None:
    page = Page(report.page(found))
    good, bad = page.texts("good"), page.texts("bad")
    assert {"held"} <= good
    assert {"does not hold", "The kit lost 1."} <= bad
    plain = {
        each.words.strip() for each in page.elements if each.tag == "td" and not {"good", "bad"} & set(each.classes)
    }
    assert not good & bad
    assert not (good | bad) & plain
    assert "" not in good | bad


def test_every_mark_of_a_timeline_has_a_shape_or_a_row_of_its_own(found: list[Result]) -> None:
    seen: dict[str, set[tuple[str, float]]] = {mark: set() for mark in MARKS}
    for result in found:
        for lane in timeline.draw(result.history).lanes:
            for mark in MARKS:
                seen[mark] |= shapes(getattr(lane, mark), lane.y)
    assert all(len(shown) == 1 for shown in seen.values()), f"drawn in no way, or in several: {seen}"
    assert len(set.union(*seen.values())) == len(MARKS), f"two marks look alike: {seen}"


def shapes(path: str, lane: float) -> set[tuple[str, float]]:
    """What is drawn, wherever it begins and ends from left to right, and how far down in its lane."""
    begun = re.findall(r"M[\d.]+ ([\d.]+)([^M]*)", path)
    return {(re.sub(r"H[\d.]+", "H", drawn), float(y) - lane) for y, drawn in begun}


def test_every_mark_is_explained_beside_its_own_shape(found: list[Result]) -> None:
    page = Page(report.page(found))
    keys = {each.classes[0]: each for each in page.elements if each.classes and each.within(**{"class": "keys"})}
    drawn = {
        name
        for each in page.elements
        if each.within(role="img") and each.tag in {"path", "rect"}
        for name in each.classes
    }
    assert drawn == {*MARKS, "fault", "edge", "rule"}
    assert set(keys) == {*MARKS, "fault"}
    words = {name: next(above.words for above in each.above if above.tag == "li") for name, each in keys.items()}
    assert len(set(words.values())) == len(keys)
    assert {"upper", "lower", "cross", "bar", "below", "dashed"} <= set(re.findall(r"\w+", " ".join(words.values())))
    assert "stroke-dasharray" in re.findall(r"\.edge {[^}]*}", report.page(found))[0]
    lost = re.findall(r"[lm]-?6.*", keys["lost"].attributes["d"])[0]
    assert lost == "l6 6m0-6l-6 6", "its key shows another cross than the timeline has"


def test_every_fault_is_numbered_in_the_timeline_and_named_below(found: list[Result]) -> None:
    page = Page(report.page(found))
    assert [each.words for each in page.elements if each.tag == "title"][1:] == ["packets are dropped"] * 2
    numbers = [each.words for each in page.elements if each.tag == "text" and each.attributes.get("y") == "14"]
    assert numbers == ["1", "1"]
    assert len([each for each in page.elements if each.tag == "p" and each.words == "1: packets are dropped"]) == 2
