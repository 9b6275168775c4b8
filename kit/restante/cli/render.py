"""`restante render`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from restante.cli.options import json_option
from restante.cli.session import bundle_for, spec_argument


@click.command("render")
@spec_argument
@click.option(
    "--out",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the bundle; an earlier bundle there is replaced.",
)
@json_option
def command(spec: Path, out: Path, as_json: bool) -> None:
    """Write the bundle of SPEC: one tree of files per host, the playbook, the checks. Same spec, same bytes."""
    plan = bundle_for(spec, out)
    files = json.loads((out / "manifest.json").read_bytes())["files"]
    hosts = {name: sum(path.startswith(f"hosts/{name}/") for path in files) for name in plan.hosts}
    if as_json:
        click.echo(json.dumps({"bundle": str(out), "hosts": hosts, "files": len(files)}, indent=2))
        return
    click.echo(f"{out}: {len(files)} files for {len(hosts)} hosts")
    for note in plan.notes:
        click.echo(f"note: {note}")
