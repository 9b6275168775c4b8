"""`restante inbox`."""

from __future__ import annotations

import datetime
from typing import Any

import click

from restante.cli.mailbox.client import Client, connected, path, show, table
from restante.cli.options import json_option
from restante.errors import InputError


@click.group("inbox")
def command() -> None:
    """Create, list and show inboxes."""


@command.command()
@click.argument("address")
@click.option("--display-name")
@click.option("--client-id", help="Your own name for it: the same again gives the same inbox.")
@json_option
@connected
def create(client: Client, address: str, display_name: str | None, client_id: str | None, as_json: bool) -> None:
    """Create ADDRESS, as in support@example.org."""
    username, at, domain = address.partition("@")
    if not at:
        raise InputError(f"{address} is no address; as in support@example.org")
    body = {"username": username, "domain": domain, "display_name": display_name, "client_id": client_id}
    show(
        client.call("POST", path("inboxes"), body), as_json, lambda made: [f"{made['inbox_id']} takes mail from now on"]
    )


@command.command("list")
@json_option
@connected
def list_(client: Client, as_json: bool) -> None:
    """All inboxes that the token may touch."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = client.call("GET", path("inboxes"), cursor=cursor, limit=1000)
        items += page["items"]
        if not (cursor := page["next_cursor"]):
            break
    rows = [
        [each["inbox_id"], each["head"].partition(":")[2], f"{each['used_bytes'] >> 10} KiB", when(each["created_at"])]
        for each in items
    ]
    show(items, as_json, lambda _: table(["inbox", "messages", "kept", "created"], rows))


@command.command("show")
@click.argument("address")
@json_option
@connected
def show_(client: Client, address: str, as_json: bool) -> None:
    """ADDRESS with its consumers: what waits, what is out, what is dead."""
    found = client.call("GET", path("inboxes", address))
    found["consumers"] = client.call("GET", path("inboxes", address, "consumers"))["items"]
    show(found, as_json, _lines)


def _lines(found: Any) -> list[str]:
    names = ("inbox_id", "head", "oldest", "used_bytes", "quota_bytes", "lease_s", "attempts", "retention_s")
    rows = [
        [
            each["name"],
            each["new"] + each["waiting"],
            each["in_flight"],
            each["dead_letters"],
            when(each["oldest_unacknowledged_at"]),
            when(each["last_receive_at"]),
        ]
        for each in found["consumers"]
    ]
    return [
        *(f"{name:<12} {found[name]}" for name in names),
        "",
        *table(["consumer", "ready", "leased", "dead", "oldest unacknowledged", "last receive"], rows),
    ]


def when(moment: float | None) -> str:
    return datetime.datetime.fromtimestamp(moment).astimezone().isoformat(" ", "seconds") if moment else "-"
