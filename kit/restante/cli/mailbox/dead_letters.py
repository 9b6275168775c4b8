"""`restante dead-letters`."""

from __future__ import annotations

from typing import Any

import click

from restante.cli.mailbox.client import Client, connected, path, show, table
from restante.cli.mailbox.inbox import when
from restante.cli.options import json_option


@click.group("dead-letters")
def command() -> None:
    """List, redrive and discard what no attempt could handle."""


@command.command("list")
@click.argument("inbox")
@json_option
@connected
def list_(client: Client, inbox: str, as_json: bool) -> None:
    """Dead letters of INBOX with their last error."""
    items: list[dict[str, Any]] = []
    cursor: str | None = "earliest"
    while cursor:
        found = client.call("GET", path("inboxes", inbox, "dead-letters"), limit=1000, cursor=cursor)
        items, cursor = items + found["items"], found["next_cursor"]
    rows = [
        [each["message"]["id"], each["consumer"], each["attempts"], when(each["died_at"]), each["last_error"]]
        for each in items
    ]
    show({"items": items}, as_json, lambda _: table(["id", "consumer", "attempts", "died", "last error"], rows))


@command.command()
@click.argument("inbox")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@connected
def redrive(client: Client, inbox: str, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Make them ready again, their attempts counted anew."""
    found = client.call("POST", path("inboxes", inbox, "dead-letters", "redrive"), _which(ids, everything))
    show(found, as_json, lambda _: [f"{found['redriven']} dead letters are ready again"])


@command.command()
@click.argument("inbox")
@click.argument("ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@connected
def discard(client: Client, inbox: str, ids: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Settle those that nobody needs. A dead letter keeps all later mail of its inbox from retention."""
    found = client.call("POST", path("inboxes", inbox, "dead-letters", "discard"), _which(ids, everything))
    show(found, as_json, lambda _: [f"{found['discarded']} dead letters are discarded"])


def _which(ids: tuple[str, ...], everything: bool) -> dict[str, Any]:
    return {"since": 0} if everything else {"ids": list(ids)}
