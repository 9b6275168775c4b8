"""`restante message`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from restante.cli.mailbox.client import Client, connected, path, show, table
from restante.cli.mailbox.inbox import when
from restante.cli.options import json_option
from restante.errors import FoundError


@click.group("message")
def command() -> None:
    """List, show and save messages; reading never acknowledges."""


@command.command("list")
@click.argument("inbox")
@click.option("--cursor", help="Only what came after it.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
@connected
def list_(client: Client, inbox: str, cursor: str | None, limit: int, as_json: bool) -> None:
    """Messages of INBOX in the order of their arrival."""
    found = client.call("GET", path("inboxes", inbox, "messages"), cursor=cursor, limit=limit)
    rows = [
        [each["id"], when(each["received_at"]), (each["from"] or {}).get("address", "-"), each["subject"][:60]]
        for each in found["items"]
    ]
    following = found["next_cursor"]
    more = [f"more: --cursor {following}"] if following else []
    show(found, as_json, lambda _: [*table(["id", "received", "from", "subject"], rows), *more])


@command.command("show")
@click.argument("inbox")
@click.argument("message")
@json_option
@connected
def show_(client: Client, inbox: str, message: str, as_json: bool) -> None:
    """One message, parsed."""
    found = client.call("GET", path("inboxes", inbox, "messages", message))
    lines = [
        f"{name:<12} {found[name]}"
        for name in ("id", "cursor", "subject", "envelope_from", "delivered_to", "size", "parse_error")
    ]
    show(found, as_json, lambda _: [*lines, "", found["text"] or found["preview"]])


@command.command()
@click.argument("inbox")
@click.argument("message")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of the standard output.")
@connected
def raw(client: Client, inbox: str, message: str, out: Path | None) -> None:
    """The message byte for byte as it was sent."""
    status, content = client.fetch("GET", path("inboxes", inbox, "messages", message, "raw"))
    if status != 200:
        client.call("GET", path("inboxes", inbox, "messages", message))
        raise FoundError(f"the server answered {status}")
    if out:
        out.write_bytes(content)
    else:
        sys.stdout.buffer.write(content)
