"""The log beside base backups: its lines, its gaps, and what may go."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.server.backup import folder, wal
from restante.server.backup.cluster import Cluster
from restante.server.backup.folder import Base
from restante.server.backup.timelines import OPEN, History

LED_ANEW = History({1: 0x3000100, 2: OPEN})
FILE = "1\t0/3000100\tno recovery target specified\n"


def segment(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number >> 8:08X}{number & 0xFF:08X}"


def base(directory: Path, own: range, line: int = 1) -> tuple[Path, Base]:
    path = directory / "base"
    (path / "pg_wal").mkdir(parents=True)
    for number in own:
        (path / "pg_wal" / segment(number)).touch()
    return path, Base("base", 0, 0, line, segment(own[0]))


def line(directory: Path, *numbers: int) -> int:
    made = wal.begin(directory)
    *whole, last = numbers
    for number in whole:
        (wal.folder(directory, made) / segment(number)).touch()
    (wal.folder(directory, made) / f"{segment(last)}.partial").touch()
    return made


@pytest.mark.parametrize(
    ("own", "numbers", "missing"),
    [
        (range(254, 257), (255, 256, 257, 258), None),
        (range(2, 4), (1, 2, 3), None),
        (range(2, 4), (4, 5), None),
        (range(2, 4), (5, 6), 4),
        (range(2, 3), (2, 3, 5), 4),
    ],
)
def test_a_gap_between_a_base_backup_and_the_end_of_its_line_is_named(
    tmp_path: Path, own: range, numbers: tuple[int, ...], missing: int | None
) -> None:
    line(tmp_path, *numbers)
    assert wal.gap(*base(tmp_path, own)) == (segment(missing) if missing else None)


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [
        ((2, 3), (3, 4), None),
        ((2, 3), (4,), 3),
        ((2, 3, 4, 5), (3, 5), 4),
        ((2, 3), (), 3),
        ((1, 2), (), 3),
    ],
)
def test_log_of_the_leader_before_fills_no_gap_in_that_of_the_next(
    tmp_path: Path, before: tuple[int, ...], after: tuple[int, ...], missing: int | None
) -> None:
    where = wal.folder(tmp_path, line(tmp_path, *before))
    (where / "00000002.history").write_text(FILE)
    for number in after:
        (where / segment(number, 2)).touch()
    assert wal.gap(*base(tmp_path, range(2, 3))) == (segment(missing, 2) if missing else None)


def test_what_history_left_out_is_set_aside_and_where_it_was_left_is_received_again(tmp_path: Path) -> None:
    where = wal.folder(tmp_path, line(tmp_path, 2, 3, 4, 5))
    aside = wal.set_aside(tmp_path, 1, LED_ANEW)
    assert aside
    assert {path.name for path in aside.iterdir()} == {segment(4), f"{segment(5)}.partial"}
    assert {path.name for path in where.iterdir()} == {segment(2), f"{segment(3)}.partial", aside.name}
    assert wal.set_aside(tmp_path, 1, LED_ANEW) is None
    assert wal.goes_on(tmp_path, 1, "0/3000060")


def test_the_log_that_follows_starts_with_the_backup_s_own_segment(tmp_path: Path) -> None:
    line(tmp_path, 1, 2, 3)
    _, made = base(tmp_path, range(2, 3))
    found = {name: path.name for name, path in wal.after(tmp_path, made)}
    assert found == {segment(2): segment(2), segment(3): f"{segment(3)}.partial"}


@pytest.mark.parametrize(
    ("last", "position", "goes_on"),
    [
        (f"{segment(5)}.partial", "0/5192500", True),
        (f"{segment(5)}.partial", "0/6000000", False),
        (segment(5), "0/6000000", True),
        (segment(5), "0/7000000", False),
        (segment(0x1FF), "2/0", True),
    ],
)
def test_log_that_begins_after_the_line_s_end_is_another_line(
    tmp_path: Path, last: str, position: str, goes_on: bool
) -> None:
    made = wal.begin(tmp_path)
    (wal.folder(tmp_path, made) / last).touch()
    assert wal.goes_on(tmp_path, made, position) == goes_on


def test_log_goes_on_from_the_latest_timeline_s(tmp_path: Path) -> None:
    where = wal.folder(tmp_path, line(tmp_path, 3))
    (where / segment(3, 2)).touch()
    assert wal.goes_on(tmp_path, 1, "0/4000000")


def test_where_another_took_over_the_lead_belongs_to_the_log(tmp_path: Path) -> None:
    (wal.folder(tmp_path, line(tmp_path, 1)) / "00000002.history").touch()
    _, made = base(tmp_path, range(1, 2))
    assert "00000002.history" in dict(wal.after(tmp_path, made))


def test_a_line_that_an_interrupted_start_left_is_used_by_the_next(tmp_path: Path) -> None:
    assert [wal.begin(tmp_path), wal.begin(tmp_path)] == [1, 1]
    folder.describe(tmp_path, base(tmp_path, range(1, 2))[1])
    assert wal.begin(tmp_path) == 2, "a base backup stands on it"


def test_a_line_goes_with_its_last_backup_and_the_one_that_is_written_stays(tmp_path: Path) -> None:
    for _ in range(3):
        line(tmp_path, 1)
    _, made = base(tmp_path, range(1, 2), line=2)
    wal.prune(Pruned(), tmp_path, [made])
    assert wal.lines(tmp_path) == [2, 3]
    wal.prune(Pruned(), tmp_path, [])
    assert wal.lines(tmp_path) == [3]
    assert wal.begin(tmp_path) == 4


class Pruned(Cluster):
    """Its pg_archivecleanup has nothing to do here: tests/lab has the real one."""

    def __init__(self) -> None:
        super().__init__("15")

    def tool(self, name: str) -> str:
        return "true"
