"""Copies of a SQLite store: made while the server runs, verified, put back while it does not. A restore changes every epoch."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from restante.errors import FoundError, InputError
from restante.server.backup.folder import Copy, describe, described, name, sync
from restante.server.store.inboxes import new_epoch
from restante.server.store.statements import named

PATIENCE_S = 30


def make(store: Path, directory: Path) -> Copy:
    """A consistent copy, verified and on disk when this returns."""
    made_at = time.time()
    file = f"{name(made_at)}.sqlite"
    part = directory / f".{file}.part"
    _copy(store, part)
    part.chmod(0o600)
    _demand_whole(part)
    made = Copy(file, made_at, part.stat().st_size, _digest(part), _messages(part))
    sync(part)
    part.rename(directory / file)
    describe(directory, made)
    return made


def _copy(store: Path, part: Path) -> None:
    """In one step: in several, each commit of the server in between would start it anew."""
    if not store.is_file():
        raise FoundError(f"{store} is not there: the post office makes it at its first start")
    try:
        source = sqlite3.connect(f"file:{store}?mode=rw", uri=True, timeout=PATIENCE_S)
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(part)) as into:
            source.backup(into)
    except sqlite3.Error as error:
        raise FoundError(f"{store} could not be copied to {part.parent}: {error}") from None


def verify(path: Path) -> Copy:
    """Raises FoundError when the copy is not what was written, or is damaged."""
    made = described(path)
    if not isinstance(made, Copy):
        raise InputError(f"{path} is a base backup of PostgreSQL, and a copy of SQLite is wanted here")
    if _digest(path) != made.sha256:
        raise FoundError(f"{path} is not what was written: its SHA-256 differs from the one in {path.name}.json")
    _demand_whole(path)
    return made


def restore(path: Path, target: Path) -> Copy:
    """Put the copy in the place of `target`; what is there is kept beside it, as TARGET.before-restore."""
    made = verify(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _stopped(target):
        fresh = target.with_name(f"{target.name}.restoring")
        shutil.copyfile(path, fresh)
        with contextlib.closing(sqlite3.connect(fresh)) as connection, connection:
            connection.execute(named("sqlite")["new_epochs"], {"epoch": new_epoch()})
        fresh.chmod(0o600)
        _give(fresh)
        sync(fresh)
        _put_aside(target)
        fresh.rename(target)
        sync(target.parent)
    return made


@contextlib.contextmanager
def _stopped(target: Path) -> Iterator[None]:
    lock = os.open(f"{target}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _give(Path(f"{target}.lock"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(
            f"a server uses {target} at this moment; stop it first, with its sockets, which would start it again: "
            "systemctl stop restante-server.service 'restante-*.socket'"
        ) from None
    finally:
        os.close(lock)


def _give(path: Path) -> None:
    """Root restores; whoever owns the folder is to read what it put there."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _put_aside(target: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        old = target.with_name(target.name + suffix)
        if old.exists():
            old.rename(target.with_name(f"{target.name}.before-restore{suffix}"))


def _demand_whole(path: Path) -> None:
    try:
        with contextlib.closing(_read_only(path)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as error:
        found = [str(error)]
    if found != ["ok"]:
        raise FoundError(f"{path} is damaged: {'; '.join(found)}")


def _messages(path: Path) -> int:
    with contextlib.closing(_read_only(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
