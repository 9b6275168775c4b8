"""`restante explain`: every number and why it is that number."""

from __future__ import annotations

import difflib
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from restante.cli.options import json_option
from restante.cli.session import plan_for, spec_argument
from restante.errors import InputError
from restante.plan.build import Plan
from restante.plan.derived import Derived, Rule
from restante.render.bundle import plan_document
from restante.render.host import render_host

_KEY = re.compile(r"\[([a-z]+[a-z0-9_.]*)\]$")


@click.command("explain")
@spec_argument
@click.argument("key", required=False)
@click.option(
    "--file", "file", metavar="HOST:PATH", help="Say where each tuned directive of a rendered file comes from."
)
@json_option
def command(spec: Path, key: str | None, file: str | None, as_json: bool) -> None:
    """Show every derived value of SPEC: number, unit, reason, source. KEY narrows: a key, or how it begins."""
    plan = plan_for(spec)
    if file:
        rows = list(_directives(plan, file))
        click.echo(json.dumps(rows, indent=2) if as_json else "\n".join(map(_row, rows)))
    elif as_json:
        document = plan_document(plan)
        click.echo(
            json.dumps({"values": {v.key: asdict(v) for v in _chosen(plan, key)}} if key else document, indent=2)
        )
    else:
        for derived in _chosen(plan, key):
            click.echo(_value(derived))
        rules = [rule for rule in plan.rules if not key or key in f"{rule.left} {rule.right} {rule.name}"]
        if rules:
            click.echo("\nThe chain, from agent to upstream; each line must hold:")
            click.echo("\n".join(map(_rule, rules)))
        if not key:
            click.echo("".join(f"\n{text}" for text in _overridden(plan)), nl=False)
            click.echo("".join(f"\nnote: {note}" for note in plan.notes))


def _chosen(plan: Plan, key: str | None) -> list[Derived]:
    found = [value for name, value in plan.values.items() if not key or name == key or name.startswith(f"{key}.")]
    if not found:
        near = difflib.get_close_matches(key or "", plan.values, 3, 0.4)
        raise InputError(
            f"no value is derived under '{key}'; accepted: {', '.join(near or list(plan.values)[:8])}, ..."
        )
    return found


def _value(derived: Derived) -> str:
    head = f"{derived.key} = {derived.value} {derived.unit}"
    text = f"{derived.because} Otherwise: {derived.risk}."
    lines = textwrap.wrap(text, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([head, *lines, f"    from {derived.spec_key}; source: {derived.source}"])


def _rule(rule: Rule) -> str:
    sign = "<" if rule.strict else "<="
    return f"  {rule.left_s:>6} s {sign:<2} {rule.right_s:>6} s   {rule.left} {sign} {rule.right}"


def _overridden(plan: Plan) -> Iterator[str]:
    for snippet in plan.spec.overrides.nginx:
        yield f"override nginx, {snippet.context}: {snippet.directives.strip()}  ({snippet.because})\n"
    for key, own in plan.spec.overrides.sysctl.items():
        yield f"override sysctl {key} = {own.value}  ({own.because})\n"


def _directives(plan: Plan, place: str) -> Iterator[dict[str, object]]:
    """The comment above directives ends with its key, and is about all that follow until the next comment or blank."""
    name, _, path = place.partition(":")
    if name not in plan.hosts:
        raise InputError(f"'{name}' is no host of this spec; write HOST:PATH with one of {', '.join(plan.hosts)}")
    files, _, _ = render_host(plan, plan.hosts[name])
    if path not in files:
        raise InputError(f"{name} gets no file {path}; it gets {', '.join(sorted(files))}")
    keys: list[str] = []
    above = ""
    for number, line in enumerate(_text(files[path].content, place).splitlines(), 1):
        text = line.strip()
        if not text.startswith("#"):
            for key in keys if text else []:
                yield _directive(plan, number, text, key)
        elif found := _KEY.search(text):
            keys = [*(keys if above.startswith("#") else []), found[1]]
        elif not above.startswith("#"):
            keys = []
        keys = keys if text else []
        above = text


def _text(content: bytes, place: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InputError(f"{place} is not a text file: it is carried as it is, and has no tuned directive") from None


def _directive(plan: Plan, number: int, text: str, key: str) -> dict[str, object]:
    derived = plan.values.get(key)
    row: dict[str, object] = {
        "line": number,
        "directive": text,
        "key": key,
        "spec_key": derived.spec_key if derived else key,
    }
    return (
        {**row, "rule": derived.because, "source": derived.source} if derived else {**row, "rule": "as the spec says"}
    )


def _row(row: dict[str, object]) -> str:
    source = f" Source: {row['source']}." if "source" in row else ""
    return f"{row['line']}: {row['directive']}\n    {row['key']}, from {row['spec_key']}: {row['rule']}{source}"
