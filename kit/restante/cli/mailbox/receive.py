"""`restante receive`."""

from __future__ import annotations

import click

from restante.cli.mailbox.client import Client, connected, path, show
from restante.cli.options import json_option


@click.command("receive")
@click.argument("inbox")
@click.option("--max", "most", type=click.IntRange(1, 100), default=10, show_default=True, help="Messages at most.")
@click.option("--wait", type=click.FloatRange(0, 25), default=0, help="Seconds to wait for a first one.")
@click.option("--lease", type=click.IntRange(1, 43200), help="Seconds until what is not acknowledged comes back.")
@click.option("--consumer", default="default", show_default=True)
@click.option("--ack", "settle", is_flag=True, help="Acknowledge what was shown.")
@json_option
@connected
def command(
    client: Client, inbox: str, most: int, wait: float, lease: int | None, consumer: str, settle: bool, as_json: bool
) -> None:
    """Hand over what waits in INBOX, under a lease each. Nothing is acknowledged without --ack."""
    body = {"max_messages": most, "wait_seconds": wait, "visibility_timeout": lease, "consumer": consumer}
    found = client.call("POST", path("inboxes", inbox, "receive"), body)
    lines = [
        f"{each['receipt_handle']}  attempt {each['attempt']}  {each['message']['subject']}" for each in found["items"]
    ]
    show(found, as_json, lambda _: [*lines, f"{len(lines)} received, {found['remaining']} remain"])
    if settle and lines:
        client.call(
            "POST",
            path("inboxes", inbox, "ack"),
            {"receipt_handles": [each["receipt_handle"] for each in found["items"]]},
        )
