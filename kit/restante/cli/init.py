"""`restante init`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from restante import resources
from restante.cli.schema import schema
from restante.errors import InputError

SCHEMA_LINE = "# yaml-language-server: $schema=./restante.schema.json\n"


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--example", default="websocket-only", show_default=True, help="Which example to start from.")
def command(directory: Path, example: str) -> None:
    """Write an annotated spec, and the schema its first line names, into DIRECTORY."""
    known = {path.stem: path for path in sorted(resources.examples().glob("*.yml"))}
    if example not in known:
        raise InputError(f"there is no example '{example}'; accepted: {', '.join(known)}")
    if sys.stdin.isatty() and sys.stdout.isatty():
        example = click.prompt("Start from", type=click.Choice(list(known)), default=example)
    files = {directory / "restante.yml": (SCHEMA_LINE + known[example].read_text()).encode()}
    files[directory / "restante.schema.json"] = json.dumps(schema(), indent=2).encode() + b"\n"
    backend = resources.examples() / "backend" / "backend.py"
    files[directory / "backend" / "backend.py"] = backend.read_bytes()
    if there := [str(path) for path in files if path.exists()]:
        raise InputError(f"{', '.join(there)} exists already and is not overwritten; give another folder")
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; give a folder that can be written") from None
    click.echo(f"Wrote {', '.join(map(str, files))}.\nNext: restante validate {directory / 'restante.yml'}")
