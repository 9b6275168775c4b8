"""A copy of SQLite beside a store that others write to, verified, and put back."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from restante.errors import FoundError, InputError
from restante.server.backup import copies, folder, job
from restante.server.backup.settings import BackupSettings
from restante.server.store import migrations

INBOX = "INSERT INTO inbox (address, metadata, epoch, created_at) VALUES ('a@example.org', '{}', 'old', 0)"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "post" / "store.sqlite"
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        migrations.sqlite(connection, 0)
        connection.execute(INBOX)
    return path


def settings(store: Path, **changes: object) -> BackupSettings:
    given = {
        "engine": "sqlite",
        "directory": store.parents[1] / "backups",
        "keep_s": 0,
        "floor_bytes": 0,
        "path": store,
    }
    return BackupSettings.model_validate({**given, **changes})


def epochs(store: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return {row[0] for row in connection.execute("SELECT epoch FROM inbox")}


def test_a_round_makes_one_and_keeps_the_newest_of_the_old(store: Path) -> None:
    made = [job.make(settings(store)) for _ in range(3)]
    assert folder.listed(settings(store).directory) == [made[2], made[1]]
    assert copies.verify(settings(store).directory / made[2].file) == made[2]


def test_a_restore_puts_aside_what_was_there_and_changes_every_epoch(store: Path) -> None:
    made = job.make(settings(store))
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("DELETE FROM inbox")
    copies.restore(settings(store).directory / made.file, store)
    assert len(epochs(store)) == 1
    assert "old" not in epochs(store)
    assert epochs(store.with_name("store.sqlite.before-restore")) == set()


def test_a_store_that_is_away_or_damaged_gives_a_sentence_and_no_backup(store: Path) -> None:
    here = settings(store)
    with pytest.raises(FoundError, match="must stay free"):
        job.make(settings(store, floor_bytes=1 << 60))
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with store.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    with pytest.raises(FoundError, match="is damaged"):
        job.make(here)
    store.unlink()
    with pytest.raises(FoundError, match="is not there"):
        job.make(here)
    assert folder.listed(here.directory) == []


def test_a_base_backup_is_not_taken_for_a_copy(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    folder.describe(tmp_path, folder.Base("base", 0, 0, 1, "000000010000000000000002"))
    with pytest.raises(InputError, match="a copy of SQLite is wanted"):
        copies.verify(tmp_path / "base")
