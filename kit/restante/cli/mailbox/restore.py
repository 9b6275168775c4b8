"""`restante restore`."""

from __future__ import annotations

from pathlib import Path

import click

from restante.cli.mailbox.inbox import when


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/var/lib/restante/post/store.sqlite"),
    show_default=True,
)
def command(file: Path, target: Path) -> None:
    """Put the copy FILE in the place of the store. The server must be stopped. Every epoch changes: agents reconcile."""
    from restante.server.store import backup

    made = backup.restore(file, target)
    click.echo(
        f"{target} is the copy of {when(made.made_at)} with {made.messages} messages; what was there is {target.name}.before-restore.\n"
        "Mail that came after the copy is in that file, or still in Postfix's queue. Agents are told that history changed."
    )
