"""YAML text -> plain data, with the place of every key and value.

Read as events, never recursively: a hostile file can neither exhaust the stack nor grow through aliases. Scalars follow
the YAML 1.2 core schema, so `no` is a word and `1:30` is not a number of seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from restante.errors import Problem, SpecError

Path = tuple[str | int, ...]

MAX_BYTES = 4 * 1024 * 1024  # a spec of 1,000 hosts is about 0.2 MiB
MAX_DEPTH = 20
_INT = re.compile(r"-?(0|[1-9][0-9]*)")  # 0027 and +49 keep their spelling: they are text
_FLOAT = re.compile(r"[-+]?([0-9]*\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")


@dataclass
class Document:
    """What a YAML file says and where: `places` maps a path to (line, column), counted from 1."""

    file: str
    data: Any = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A problem at `path`, or at the nearest place above it that the file has."""
        places = (self.keys, self.places) if at_key else (self.places, self.keys)
        for end in range(len(path), -1, -1):
            for known in places:
                if path[:end] in known:
                    return Problem(*known[path[:end]], dotted(path), message)
        return Problem(0, 0, dotted(path), message)


def dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def read(text: str, file: str) -> Document:
    """Parse one YAML document. Raises SpecError with every duplicate key, or with the first thing YAML cannot read."""
    document = Document(file)
    if len(text.encode()) > MAX_BYTES:
        raise SpecError(
            file, [Problem(0, 0, "", f"the file is larger than {MAX_BYTES >> 20} MiB; a spec of 1,000 hosts needs 0.2")]
        )
    builder = _Builder(document)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise SpecError(file, [Problem(*place, "", f"this is not YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise SpecError(file, [Problem(0, 0, "", f"this is not YAML text: {reason}")]) from None
    if builder.problems:
        raise SpecError(file, builder.problems)
    return document


def scalar(value: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema."""
    if value.lower() in _WORDS and value in {value.lower(), value.upper(), value.capitalize()}:
        return _WORDS[value.lower()]
    if _INT.fullmatch(value):
        return int(value) if len(value) < 20 else value
    return float(value) if _FLOAT.fullmatch(value) else value


@dataclass
class _Open:
    """A mapping or sequence that is being read."""

    path: Path
    value: dict[str, Any] | list[Any]
    key: str | None = None


class _Builder:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._documents = 0

    def feed(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(place, "a second YAML document begins here; a spec is one document")
        elif isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._stop(place, "anchors and aliases (&name, *name) are refused; write the value out where it is used")
        elif tag := getattr(event, "tag", None):
            self._stop(place, f"the tag {tag} is refused; a spec has plain values only")
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, place)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open({}, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open([], place)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._stack.pop()

    def _scalar(self, event: yaml.ScalarEvent, place: tuple[int, int]) -> None:
        if _CONTROL.search(event.value):
            self._stop(place, "a control character is in this text; a spec has printable text only")
        top = self._stack[-1] if self._stack else None
        if top and isinstance(top.value, dict) and top.key is None:
            self._key(top, event.value, place)
        else:
            self._put(scalar(event.value) if event.implicit[0] else event.value, place)

    def _key(self, top: _Open, key: str, place: tuple[int, int]) -> None:
        path = (*top.path, key)
        if key in top.value:
            line, column = self.document.keys[path]
            message = f"this key stands here a second time, first in line {line}, column {column}; keep one of them"
            self.problems.append(Problem(*place, dotted(path), message))
        self.document.keys[path] = place
        top.key = key

    def _open(self, value: dict[str, Any] | list[Any], place: tuple[int, int]) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._stop(place, f"nested deeper than {MAX_DEPTH} levels; no key of a spec lies so deep")
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            self._stop(place, "a key must be plain text, not a list or a mapping")
        self._stack.append(_Open(self._put(value, place), value))

    def _put(self, value: Any, place: tuple[int, int]) -> Path:
        path = self._attach(self._stack[-1], value) if self._stack else ()
        if not path:
            self.document.data = value
        self.document.places[path] = place
        return path

    @staticmethod
    def _attach(top: _Open, value: Any) -> Path:
        if isinstance(top.value, list):
            top.value.append(value)
            return (*top.path, len(top.value) - 1)
        key = top.key or ""
        top.value[key] = value
        top.key = None
        return (*top.path, key)

    def _stop(self, place: tuple[int, int], message: str) -> None:
        raise SpecError(self.document.file, [*self.problems, Problem(*place, "", message)])
