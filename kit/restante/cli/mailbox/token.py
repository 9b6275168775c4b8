"""`restante token`."""

from __future__ import annotations

import click

from restante.cli.mailbox.client import Client, connected, path, show, table
from restante.cli.mailbox.inbox import when
from restante.cli.options import json_option
from restante.errors import InputError


@click.group("token")
def command() -> None:
    """Create, list and revoke tokens. On the host itself its admin socket is used, and no token is needed."""


@command.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="Everything is allowed.")
@click.option(
    "--allow",
    multiple=True,
    metavar="INBOX=SCOPES",
    help='As in support@example.org=receive,read; "*" for all inboxes.',
)
@json_option
@connected
def create(client: Client, name: str, admin: bool, allow: tuple[str, ...], as_json: bool) -> None:
    """Create a token for NAME. It is printed once, and kept nowhere."""
    scopes = {}
    for entry in allow:
        inbox, equals, names = entry.rpartition("=")
        if not equals or not set(names.split(",")) <= {"receive", "read", "manage"}:
            raise InputError(f"--allow {entry} is not INBOX=SCOPES; scopes are receive, read and manage")
        scopes[inbox] = names.split(",")
    made = client.call("POST", path("tokens"), {"name": name, "admin": admin, "scopes": scopes})
    show(made, as_json, lambda _: [made["token"]])


@command.command("list")
@json_option
@connected
def list_(client: Client, as_json: bool) -> None:
    """All tokens; never the secrets."""
    found = client.call("GET", path("tokens"))
    rows = [
        [
            each["id"],
            each["name"],
            "admin" if each["admin"] else " ".join(f"{key}={','.join(value)}" for key, value in each["scopes"].items()),
            when(each["last_used_at"]),
            when(each["revoked_at"]),
        ]
        for each in found["items"]
    ]
    show(found["items"], as_json, lambda _: table(["id", "name", "may", "last used", "revoked"], rows))


@command.command()
@click.argument("token_id")
@json_option
@connected
def revoke(client: Client, token_id: str, as_json: bool) -> None:
    """Refuse TOKEN_ID from now on."""
    show(client.call("DELETE", path("tokens", token_id)), as_json, lambda each: [f"{each['name']} is revoked"])
