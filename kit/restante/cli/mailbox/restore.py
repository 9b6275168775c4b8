"""`restante restore`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from restante.cli.mailbox.backup import directory_option, one
from restante.cli.mailbox.inbox import when
from restante.errors import FoundError, InputError
from restante.server.backup import copies, folder, job, recover, wal
from restante.server.backup.folder import Copy
from restante.server.backup.settings import FILE, load
from restante.server.cluster import restored
from restante.server.cluster import settings as members

TOLD = "Agents are told that history changed, and reconcile."


def _moment(_: Any, __: Any, text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        raise InputError(
            f"{text} is no moment; as in 2026-11-23T10:00:00+01:00, or without a zone in this host's own"
        ) from None


@click.command("restore")
@click.argument("file", required=False)
@click.option("--to", callback=_moment, metavar="TIME", help="No further than this moment; all there is by default.")
@click.option(
    "--store", type=click.Path(path_type=Path, dir_okay=False), help=f"SQLite's database; what {FILE} says by default."
)
@click.option("--follow", is_flag=True, help="On a member of a cluster: copy the one that leads.")
@directory_option
def command(file: str | None, to: float | None, store: Path | None, directory: Path | None, *, follow: bool) -> None:
    """Put a backup in the place of the store: FILE, or the newest. The store must be stopped.

    SQLite is back as it was when the copy was made; PostgreSQL is brought on from there to the end of its log, or to TIME.
    What was there is kept beside it. Every epoch changes, so agents reconcile. A cluster's is restored beside its backups,
    and copied from there: with this verb on a first member, and with --follow on the others.
    """
    if members.FILE.exists():
        _member(follow=follow, chosen=any((file, to, store, directory)))
        return
    if follow:
        raise InputError(f"--follow is for the members of a cluster, and this host has no {members.FILE}; leave it out")
    chosen = one(file, directory, to)
    work = _sqlite if isinstance(folder.described(chosen), Copy) else _postgresql
    try:
        work(chosen, to, store)
    except OSError as error:
        raise FoundError(
            f"the restore stopped: {error}; what was there is in its place, or beside it as .before-restore"
        ) from None


def _sqlite(chosen: Path, to: float | None, store: Path | None) -> None:
    if to is not None and folder.described(chosen).made_at > to:
        raise InputError(f"{chosen} was made after that moment; choose an older one, or leave it out")
    target = store or load().path
    if target is None:
        raise InputError(
            f"{chosen} is a copy of SQLite, and this host's store is PostgreSQL; --store says where to put it"
        )
    made = copies.restore(chosen, target)
    click.echo(
        f"{target} is the copy of {when(made.made_at)} with {made.messages} messages; what was there is {target.name}.before-restore.\n"
        f"Mail that came after the copy is in that file, or still in Postfix's queue. {TOLD}\n"
        "Start the server: systemctl start restante-server.service"
    )


def _member(*, follow: bool, chosen: bool) -> None:
    settings = members.load()
    if chosen:
        where = settings.archive.name if settings.archive else "the host that keeps the backups"
        raise InputError(f"what is restored, and how far, is said on {where}; here it is copied: leave it out")
    aside = restored.follow(settings) if follow else restored.copy(settings)
    click.echo(
        f"{settings.data} {'is empty: this member will copy the leader' if follow else 'holds what was restored'}; "
        f"what was there is {aside.name}.\n"
        f"Start it: systemctl start {restored.UNIT}"
        f"{'' if follow else '; then on each other member: restante restore --follow, and the same'}"
    )


def _replicated(chosen: Path, to: float | None) -> None:
    settings = load()
    made, messages = recover.serve(job.cluster(settings), chosen, settings.directory, to)
    click.echo(
        f"{settings.directory / recover.RESTORED} holds {messages} messages, from {made.file} and the log after it"
        f"{f' until {when(to)}' if to else ''}; {recover.SERVES} serves it to the members.\n{TOLD}\n"
        f"On every member: systemctl stop {restored.UNIT}; then on one of them: restante restore\n"
        f"When all of them follow, here: systemctl stop {recover.SERVES}, which removes it"
    )


def _postgresql(chosen: Path, to: float | None, store: Path | None) -> None:
    if store is not None:
        raise InputError("--store is for SQLite; PostgreSQL's data folder is Debian's")
    cluster = job.cluster(load())
    if cluster.server:
        _replicated(chosen, to)
        return
    made, messages = recover.restore(cluster, chosen, to)
    if made.line < wal.current(chosen.parent):
        click.echo(
            "A later line of log has no base backup that fits: what came after this one ended is not in it.", err=True
        )
    click.echo(
        f"{cluster.data} holds {messages} messages, from {made.file} and the log after it"
        f"{f' until {when(to)}' if to else ''}; what was there is {cluster.data.name}.before-restore.\n"
        f"{TOLD}\nStart it: systemctl start {cluster.unit}; a new base backup is made then"
    )
