"""`restante backup`."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from restante.cli.mailbox.client import LOCAL, Client, connected, path, show, table
from restante.cli.mailbox.inbox import when
from restante.cli.options import json_option
from restante.errors import FoundError, InputError
from restante.server.backup import bases, copies, folder, job
from restante.server.backup.folder import Base, Copy
from restante.server.backup.settings import FILE, load

UNIT = "restante-backup.service"


@click.group("backup")
def command() -> None:
    """Back the store up while it runs; list and verify backups."""


def directory_option(function: Any) -> Any:
    return click.option(
        "--dir", "directory", type=click.Path(path_type=Path, file_okay=False),
        help=f"Where backups are; what {FILE} says by default.",
    )(function)  # fmt: skip


def place(directory: Path | None) -> Path:
    if directory is None and not FILE.exists():
        raise InputError(f"this host has no {FILE}, so the kit makes no backups here; --dir names a folder of them")
    found = directory or load().directory
    if not found.is_dir():
        raise InputError(f"{found} is no folder; --dir names another")
    if not os.access(found, os.R_OK | os.X_OK):
        raise InputError(f"{found} may not be read by this user; run it as root")
    return found


@command.command()
@json_option
@connected
def now(client: Client, as_json: bool) -> None:
    """Make a backup; it is verified and on disk when this returns.

    On a host of the kit as its timer does, elsewhere by the running server.
    """
    if FILE.exists() and client.url in {"", LOCAL}:
        _start()
        directory = load().directory
        made = {**asdict(folder.chosen(directory)), "directory": str(directory)}
    else:
        made = client.call("POST", path("backups"), {})
    show(made, as_json, lambda _: [f"{made['directory']}/{made['file']}: {made['size'] >> 10} KiB, verified"])


def _start() -> None:
    """A start while it waits for its next try would wait with it."""
    if systemctl("show", "--property=SubState", "--value", UNIT).startswith("auto-restart"):
        systemctl("stop", UNIT)
    try:
        systemctl("start", UNIT)
    except FoundError as error:
        raise FoundError(f"{error}\n`journalctl -u {UNIT}` says why") from None


def systemctl(*argv: str) -> str:
    done = subprocess.run(["systemctl", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FoundError(done.stderr.strip())
    return done.stdout.strip()


@command.command("list")
@directory_option
@json_option
def list_(directory: Path | None, as_json: bool) -> None:
    """The backups, the newest first."""
    found = folder.listed(place(directory))
    rows = [[each.file, when(each.made_at), f"{each.size >> 10} KiB", _held(each)] for each in found]
    show([asdict(each) for each in found], as_json, lambda _: table(["file", "made", "size", "holds"], rows))


@command.command()
@click.argument("file", required=False)
@directory_option
@json_option
def verify(file: str | None, directory: Path | None, as_json: bool) -> None:
    """Whether the backup FILE is what was written, and whole; the newest when it is left out.

    Of PostgreSQL also whether the log that follows on it has a gap.
    """
    chosen = one(file, directory)
    found = check(chosen)
    show(asdict(found), as_json, lambda _: [f"{chosen} is whole: {_held(found)}, made {when(found.made_at)}"])


def one(file: str | None, directory: Path | None, to: float | None = None) -> Path:
    """FILE as `backup list` names it, or as a path; else the newest that fits."""
    if file and "/" in file:
        return Path(file)
    where = place(directory)
    return where / (file or folder.chosen(where, to).file)


def check(chosen: Path) -> Copy | Base:
    if isinstance(folder.described(chosen), Copy):
        return copies.verify(chosen)
    return bases.verify(job.cluster(load()), chosen)


def _held(made: Copy | Base) -> str:
    return f"{made.messages} messages" if isinstance(made, Copy) else f"the log from {made.segment} on"
