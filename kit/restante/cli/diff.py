"""`restante diff`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from restante.cli.options import json_option
from restante.cli.session import plan_for, spec_argument
from restante.render import diff
from restante.render.bundle import render_bundle
from restante.render.write import changed_by_hand, read


@click.command("diff")
@spec_argument
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def command(spec: Path, directory: Path, as_json: bool) -> None:
    """Compare SPEC with the earlier render in DIRECTORY, and say per host what applying it means.

    Exit status: 0 nothing differs, 1 something does.
    """
    old, new = read(directory), render_bundle(plan_for(spec))
    changed = changed_by_hand(directory)
    lines = list(diff.unified(old, new))
    effects = diff.effects(old, new)
    if as_json:
        click.echo(json.dumps({"diff": "".join(lines), "effects": [asdict(effect) for effect in effects]}, indent=2))
    else:
        click.echo("".join(lines), nl=False)
        for path in changed:
            click.echo(f"changed by hand since it was rendered: {directory / path}")
        click.echo("\n".join(map(diff.sentence, effects)), nl=bool(effects))
        if not (lines or effects or changed):
            click.echo(f"{directory}: nothing differs")
    raise click.exceptions.Exit(1 if lines or effects or changed else 0)
