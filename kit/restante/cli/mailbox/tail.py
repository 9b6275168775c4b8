"""`restante tail`."""

from __future__ import annotations

import json
import time

import click

from restante.cli.mailbox.client import Client, connected, path
from restante.cli.mailbox.inbox import when
from restante.cli.options import json_option

PAUSE_S = 1.0


@click.command("tail")
@click.argument("inbox")
@click.option("--cursor", help="Start after it, instead of with what comes from now on.")
@json_option
@connected
def command(client: Client, inbox: str, cursor: str | None, as_json: bool) -> None:
    """Show mail as it arrives in INBOX, until interrupted. Nothing is received or acknowledged."""
    cursor = cursor or client.call("GET", path("inboxes", inbox))["head"]
    while True:
        found = client.call("GET", path("inboxes", inbox, "messages"), cursor=cursor, limit=100)
        for each in found["items"]:
            line = f"{when(each['received_at'])}  {(each['from'] or {}).get('address', '-'):<32}  {each['subject']}"
            click.echo(json.dumps(each) if as_json else line)
            cursor = each["cursor"]
        if not found["items"]:
            time.sleep(PAUSE_S)
