"""The one Jinja environment: strict, and able to say why a value is what it is."""

from __future__ import annotations

import json
import re
import textwrap
from functools import cache
from typing import Any

import jinja2

from restante import resources
from restante.plan.derived import Derived

_WIDTH = 110


@cache
def environment() -> jinja2.Environment:
    """Undefined names are errors; blocks leave no blank lines; the filters quote for systemd."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - these are configuration files, not HTML
    )
    made.filters["toml"] = toml
    made.filters["systemd_quote"] = systemd_quote
    made.filters["systemd_argument"] = systemd_argument
    return made


def render(template: str, context: dict[str, Any]) -> str:
    return environment().get_template(template).render(context)


def systemd_argument(text: str) -> str:
    """One word of a command line, taken literally: no specifier, no variable (systemd.service(5), COMMAND LINES)."""
    return systemd_quote(text.replace("$", "$$"))


def systemd_quote(text: str) -> str:
    """One word of a unit, taken literally: no specifier (systemd.syntax(7)); `$` means nothing outside commands."""
    text = text.replace("%", "%%")
    if re.fullmatch(r"[A-Za-z0-9_./:=,@%$+-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{escaped}"'


def toml(value: object) -> str:
    """JSON's strings, numbers, truth values and lists are TOML's (TOML 1.0)."""
    return json.dumps(value, ensure_ascii=False)


def why(derived: Derived) -> str:
    """The comment above a tuned directive: what, why, risk, source, and the key that `explain --file` looks for."""
    return _comment(f"{derived.because} Otherwise: {derived.risk}. Source: {derived.source}. [{derived.key}]")


@cache
def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
