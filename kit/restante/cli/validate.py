"""`restante validate`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from restante.cli.options import json_option
from restante.cli.session import plan_for, spec_argument
from restante.errors import SpecError


@click.command("validate")
@spec_argument
@json_option
def command(spec: Path, as_json: bool) -> None:
    """Say whether SPEC is valid: every problem at once, with its place and what would be accepted."""
    try:
        plan = plan_for(spec)
    except SpecError as error:
        if not as_json:
            count = len(error.problems)
            click.echo(f"{error}\n{spec}: {count} problem{'s' if count > 1 else ''}", err=True)
        else:
            click.echo(
                json.dumps({"valid": False, "problems": [asdict(problem) for problem in error.problems]}, indent=2)
            )
        raise click.exceptions.Exit(error.exit_code) from None
    if as_json:
        click.echo(json.dumps({"valid": True, "notes": plan.notes}, indent=2))
        return
    click.echo(
        f"{spec}: valid, {len(plan.hosts)} hosts, {len(plan.values)} derived values, {len(plan.rules)} inequalities hold"
    )
    for note in plan.notes:
        click.echo(f"note: {note}")
