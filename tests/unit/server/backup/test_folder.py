"""Which backups there are, which go, and which a restore starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.errors import FoundError, InputError
from restante.server.backup import folder
from restante.server.backup.folder import Copy

DAY = 86_400.0


def copy(directory: Path, at: float) -> Copy:
    made = Copy(f"{folder.name(at)}.sqlite", at, 3, "", 0)
    (directory / made.file).write_text("one")
    folder.describe(directory, made)
    return made


def test_a_restore_can_always_go_back_as_far_as_is_kept(tmp_path: Path) -> None:
    made = [copy(tmp_path, day * DAY) for day in range(10)]
    gone = folder.superfluous(folder.listed(tmp_path), 3 * DAY, now=9.5 * DAY)
    assert gone == list(reversed(made[:6]))
    assert made[6].made_at <= 9.5 * DAY - 3 * DAY


def test_the_only_backup_stays_however_old_it_is(tmp_path: Path) -> None:
    assert folder.superfluous([copy(tmp_path, 0)], DAY, now=1000 * DAY) == []


def test_what_is_not_described_is_no_backup(tmp_path: Path) -> None:
    made = copy(tmp_path, DAY)
    (tmp_path / "half.sqlite").write_text("half")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / f"{folder.name(2 * DAY)}.json").write_text('{"engine": "sqlite"}')
    assert folder.listed(tmp_path) == [made]
    with pytest.raises(InputError, match="is no backup"):
        folder.described(tmp_path / "half.sqlite")


def test_the_newest_that_is_old_enough_is_chosen(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`restante backup now` makes one"):
        folder.chosen(tmp_path)
    made = [copy(tmp_path, day * DAY) for day in (1, 2, 3)]
    assert folder.chosen(tmp_path) == made[2]
    assert folder.chosen(tmp_path, 2.5 * DAY) == made[1]
    with pytest.raises(InputError, match="goes no further back"):
        folder.chosen(tmp_path, 0.5 * DAY)


def test_one_backup_at_a_time_and_what_an_interrupted_one_left_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / ".20260101T000000Z-000.part").mkdir()
    (tmp_path / ".20260101T000000Z-000.sqlite.part").write_text("half")
    with folder.alone(tmp_path):
        assert list(tmp_path.glob(".*.part")) == []
        with pytest.raises(FoundError, match="another backup is being made"), folder.alone(tmp_path):
            pass


def test_no_backup_takes_the_space_that_mail_needs(tmp_path: Path) -> None:
    folder.room(tmp_path, 1, 1)
    with pytest.raises(FoundError, match="must stay free: give the folder a disk of its own"):
        folder.room(tmp_path, 1, 1 << 60)
