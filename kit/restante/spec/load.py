"""A spec file -> Spec, or every problem at once with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from restante.errors import InputError, Problem, SpecError
from restante.spec import document
from restante.spec.document import Document
from restante.spec.model import Spec

_TYPES = {
    "string_type": "text", "int_type": "a whole number", "bool_type": "true or false", "dict_type": "a mapping",
    "tuple_type": "a list", "model_type": "a mapping", "list_type": "a list",
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """A valid spec together with the document it came from, so that later refusals can name their place."""

    spec: Spec
    document: Document
    directory: Path


def load(file: Path) -> Loaded:
    """Read and validate. Raises InputError when there is no such file, SpecError with every problem found."""
    try:
        if file.stat().st_size > document.MAX_BYTES:
            raise SpecError(str(file), [Problem(0, 0, "", f"the file is larger than {document.MAX_BYTES >> 20} MiB; "
                                                "a spec of 1,000 hosts needs 0.2")])  # fmt: skip
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            str(file), [Problem(0, 0, "", f"byte {error.start} is not UTF-8; a spec is UTF-8 text")]
        ) from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give the path of a spec ('restante init' writes one)") from None
    return parse(text, str(file), file.resolve().parent)


def parse(text: str, name: str, directory: Path) -> Loaded:
    found = document.read(text, name)
    if not isinstance(found.data, dict):
        raise SpecError(name, [Problem(1, 1, "", "a spec is a mapping; its first line is 'restante: 1'")])
    if next(iter(found.data), None) != "restante":
        raise SpecError(name, [Problem(1, 1, "restante", "the first key must be the format's version: restante: 1")])
    try:
        return Loaded(Spec.model_validate(found.data), found, directory)
    except ValidationError as error:
        raise SpecError(name, list(_problems(found, error))) from None


def _problems(found: Document, error: ValidationError) -> Iterator[Problem]:
    for item in error.errors(include_url=False):
        path = _real_path(item["loc"])
        if item["type"] == "too_short" and item["input"]:
            continue  # its entries are refused, each in a problem of its own
        if item["type"] == "extra_forbidden":
            yield found.problem(path, _unknown_key(path), at_key=True)
        elif item["type"] == "missing":
            yield found.problem(path, f"this key is missing; it is {_describe(path)}", at_key=True)
        else:
            yield found.problem(path, _sentence(item), at_key=item["loc"][-1:] == ("[key]",))


def _real_path(loc: tuple[str | int, ...]) -> document.Path:
    """Pydantic's location; a refused key of a mapping is marked there as '[key]'."""
    return tuple(part for part in loc if part != "[key]")


def _sentence(item: Any) -> str:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    shown = repr(value) if isinstance(value, str | int | float | bool) else f"a {_yaml_type(value)}"
    if kind == "restante":
        return str(context["sentence"])
    if kind in _TYPES:
        return f"{shown} is not {_TYPES[kind]}; accepted: {_TYPES[kind]}"
    if kind in {"enum", "literal_error"}:
        near = _near(str(value), str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", "))
        return f"{shown} is not known here{near}; accepted: {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"{shown} has a form that is refused here; accepted: text that matches {context['pattern']}"
    if kind in {"too_short", "string_too_short"}:
        return "this is empty; at least one entry is needed"
    if kind in {"greater_than_equal", "less_than_equal"}:
        bound = "at least" if kind.startswith("greater") else "at most"
        return f"{shown} is out of range; accepted: {bound} {context.get('ge', context.get('le'))}"
    return f"{shown} is refused: {item['msg']}"


def _yaml_type(value: Any) -> str:
    return {dict: "mapping", list: "list", type(None): "empty value"}.get(type(value), type(value).__name__)


def _near(word: str, known: list[str]) -> str:
    match = difflib.get_close_matches(word, known, 1, 0.6)
    return f" (did you mean '{match[0]}'?)" if match else ""


def _unknown_key(path: document.Path) -> str:
    known = list(model.model_fields) if (model := _model_at(path[:-1])) else []
    return f"there is no such key{_near(str(path[-1]), known)}; accepted here: {', '.join(known)}"


def _describe(path: document.Path) -> str:
    model = _model_at(path[:-1])
    field = model.model_fields.get(str(path[-1])) if model else None
    text = (field.description if field else None) or "needed here"
    return text[0].lower() + text[1:].rstrip(".")


def _model_at(path: document.Path) -> type[BaseModel] | None:
    """The model whose keys stand at `path` of a spec."""
    kind: Any = Spec
    for part in path:
        fields = kind.model_fields if _is_model(kind) else {}
        members = [item for item in get_args(kind) if item is not Ellipsis]
        kind = _bare(fields[part].annotation if part in fields else members[-1] if members else None)
    return kind if _is_model(kind) else None


def _bare(kind: Any) -> Any:
    """Look through Annotated[...] and `... | None`."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in {Union, UnionType}:
        return _bare(next(item for item in get_args(kind) if item is not type(None)))
    return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
