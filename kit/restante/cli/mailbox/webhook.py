"""`restante webhook`."""

from __future__ import annotations

import click

from restante.cli.mailbox.client import Client, connected, path, show, table
from restante.cli.mailbox.inbox import when
from restante.cli.options import json_option


@click.group("webhook")
def command() -> None:
    """Create, test, pause and resume webhooks."""


@command.command()
@click.argument("target", metavar="URL")
@click.option("--inbox", "inboxes", multiple=True, help="Only mail of this inbox; may be repeated.")
@json_option
@connected
def create(client: Client, target: str, inboxes: tuple[str, ...], as_json: bool) -> None:
    """Tell URL of mail from now on. The secret that signs is printed once."""
    made = client.call("POST", path("webhooks"), {"url": target, "inbox_ids": list(inboxes)})
    show(made, as_json, lambda _: [f"{made['id']} is told of new mail", f"secret: {made['secret']}"])


@command.command("list")
@json_option
@connected
def list_(client: Client, as_json: bool) -> None:
    """All webhooks with their state."""
    items = client.call("GET", path("webhooks"))["items"]
    rows = [
        [each["id"], each["state"], each["url"], ",".join(each["inbox_ids"]) or "all", each["reason"]] for each in items
    ]
    show(items, as_json, lambda _: table(["id", "state", "url", "inboxes", "reason"], rows))


@command.command()
@click.argument("webhook")
@json_option
@connected
def deliveries(client: Client, webhook: str, as_json: bool) -> None:
    """What was sent, the newest first."""
    items = client.call("GET", path("webhooks", webhook, "deliveries"))["items"]
    rows = [
        [each["message"], each["state"], each["attempts"], when(each["next_at"]), each["status"], each["last_error"]]
        for each in items
    ]
    show(items, as_json, lambda _: table(["message", "state", "attempts", "next", "status", "last error"], rows))


@command.command()
@click.argument("webhook")
@json_option
@connected
def test(client: Client, webhook: str, as_json: bool) -> None:
    """Send one event of type test now; a paused webhook that answers is active again."""
    found = client.call("POST", path("webhooks", webhook, "test"))
    show(
        found, as_json, lambda _: [f"answered {found['status']}" if found["delivered"] else f"failed: {found['error']}"]
    )
    raise click.exceptions.Exit(0 if found["delivered"] else 1)


@command.command()
@click.argument("webhook")
@json_option
@connected
def pause(client: Client, webhook: str, as_json: bool) -> None:
    """Stop telling it; its mail waits in the inbox as ever."""
    found = client.call("PATCH", path("webhooks", webhook), {"state": "paused"})
    show(found, as_json, lambda _: [f"{webhook} is paused"])


@command.command()
@click.argument("webhook")
@json_option
@connected
def resume(client: Client, webhook: str, as_json: bool) -> None:
    """Tell it again, what had failed included."""
    found = client.call("PATCH", path("webhooks", webhook), {"state": "active"})
    show(found, as_json, lambda _: [f"{webhook} is active"])


@command.command()
@click.argument("webhook")
@json_option
@connected
def delete(client: Client, webhook: str, as_json: bool) -> None:
    """Forget it."""
    found = client.call("DELETE", path("webhooks", webhook))
    show(found, as_json, lambda _: [f"{webhook} is deleted"])
