"""Copies of a SQLite store: made while the server runs, verified, put back while it does not. A restore changes every epoch."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from restante.errors import FoundError, InputError
from restante.server.store.inboxes import new_epoch
from restante.server.store.sqlite import SqliteStore
from restante.server.store.statements import named


@dataclass(frozen=True)
class Backup:
    """`made_at` in Unix seconds. The description lies beside the copy, as NAME.json."""

    file: str
    made_at: float
    size: int
    sha256: str
    messages: int


async def now(store: SqliteStore, directory: Path) -> Backup:
    """A consistent copy, on disk when this returns."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    made_at = time.time()
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(made_at)) + f"-{int(made_at * 1000) % 1000:03d}.sqlite"
    partial = directory / f".{name}.part"
    await store.backup(partial)
    partial.chmod(0o600)
    made = Backup(name, made_at, partial.stat().st_size, _digest(partial), _messages(partial))
    _sync(partial)
    _write(directory / f"{name}.json", json.dumps(asdict(made), indent=2) + "\n")
    partial.rename(directory / name)
    _sync(directory)
    return made


def listed(directory: Path) -> list[Backup]:
    """The newest first."""
    found = [Backup(**json.loads(path.read_text())) for path in directory.glob("*.sqlite.json")]
    return sorted((each for each in found if (directory / each.file).exists()), key=lambda each: -each.made_at)


def verify(path: Path) -> Backup:
    """Raises FoundError when the copy is not what was written, or is damaged."""
    described = path.with_name(f"{path.name}.json")
    if not path.is_file() or not described.is_file():
        raise InputError(
            f"{path} is no copy made by `restante backup now`: that writes FILE.sqlite and FILE.sqlite.json"
        )
    made = Backup(**json.loads(described.read_text()))
    if _digest(path) != made.sha256:
        raise FoundError(f"{path} is not what was written: its SHA-256 differs from the one in {described.name}")
    with contextlib.closing(_read_only(path)) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise FoundError(f"{path} is damaged: {'; '.join(found)}")
    if _messages(path) != made.messages:
        raise FoundError(f"{path} holds {_messages(path)} messages, and {made.messages} were written")
    return made


def restore(path: Path, target: Path) -> Backup:
    """Put the copy in the place of `target`; what is there is kept beside it, as TARGET.before-restore."""
    made = verify(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{target}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"a server uses {target} at this moment; stop it first: systemctl stop restante-server"
        ) from None
    try:
        fresh = target.with_name(f"{target.name}.restoring")
        shutil.copyfile(path, fresh)
        with contextlib.closing(sqlite3.connect(fresh)) as connection, connection:
            connection.execute(named("sqlite")["new_epochs"], {"epoch": new_epoch()})
        fresh.chmod(0o600)
        _sync(fresh)
        _put_aside(target)
        fresh.rename(target)
        _sync(target.parent)
    finally:
        os.close(lock)
    return made


def _put_aside(target: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        old = target.with_name(target.name + suffix)
        if old.exists():
            old.rename(target.with_name(f"{target.name}.before-restore{suffix}"))


def _messages(path: Path) -> int:
    with contextlib.closing(_read_only(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
