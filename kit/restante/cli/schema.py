"""`restante schema`."""

from __future__ import annotations

import json

import click

from restante.spec.model import Spec


def schema() -> dict[str, object]:
    """JSON Schema (2020-12) of the spec, as editors read it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Spec.model_json_schema(by_alias=True)}


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of the spec, for editors and other tools."""
    click.echo(json.dumps(schema(), indent=2))
