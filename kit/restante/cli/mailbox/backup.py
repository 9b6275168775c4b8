"""`restante backup`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from restante.cli.mailbox.client import Client, connected, path, show, table
from restante.cli.mailbox.inbox import when
from restante.cli.options import json_option
from restante.errors import InputError

DIRECTORY = Path("/var/lib/restante/post/backups")


@click.group("backup")
def command() -> None:
    """Copy the store while it runs; list and verify copies."""


def _directory(function: Any) -> Any:
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=DIRECTORY,
        show_default=True,
        help="Where the copies are.",
    )(function)


@command.command()
@json_option
@connected
def now(client: Client, as_json: bool) -> None:
    """Let the running server copy its store; the copy is on disk when this returns."""
    made = client.call("POST", path("backups"), {})
    show(
        made,
        as_json,
        lambda _: [f"{made['directory']}/{made['file']}: {made['messages']} messages, {made['size'] >> 10} KiB"],
    )


@command.command("list")
@_directory
@json_option
def list_(directory: Path, as_json: bool) -> None:
    """The copies, the newest first."""
    from restante.server.store import backup

    if not directory.is_dir():
        raise InputError(f"{directory} is no folder; --dir names another")
    found = backup.listed(directory)
    rows = [[each.file, when(each.made_at), each.messages, f"{each.size >> 10} KiB"] for each in found]
    show([asdict(each) for each in found], as_json, lambda _: table(["file", "made", "messages", "size"], rows))


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def verify(file: Path, as_json: bool) -> None:
    """Whether the copy FILE is what was written, and whole."""
    from restante.server.store import backup

    found = backup.verify(file)
    show(asdict(found), as_json, lambda _: [f"{file} is whole: {found.messages} messages of {when(found.made_at)}"])
