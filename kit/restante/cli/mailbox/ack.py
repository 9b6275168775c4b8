"""`restante ack`."""

from __future__ import annotations

import click

from restante.cli.mailbox.client import Client, connected, path, show
from restante.cli.options import json_option


@click.command("ack")
@click.argument("inbox")
@click.argument("handles", nargs=-1, required=True)
@json_option
@connected
def command(client: Client, inbox: str, handles: tuple[str, ...], as_json: bool) -> None:
    """Acknowledge the HANDLES that `restante receive` printed. Exit status 1 when one was not ok."""
    found = client.call("POST", path("inboxes", inbox, "ack"), {"receipt_handles": list(handles)})
    show(found, as_json, lambda _: [f"{each['receipt_handle']}  {each['result']}" for each in found["results"]])
    raise click.exceptions.Exit(0 if all(each["result"] == "ok" for each in found["results"]) else 1)
