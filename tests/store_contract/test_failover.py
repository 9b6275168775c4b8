"""The backups of a replicated PostgreSQL go on through a failover, and follow the history that goes on. With real processes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pair import BINARIES, Pair

from restante.errors import FoundError
from restante.server.backup import folder, job, recover, trial, wal


@pytest.fixture
def pair() -> Iterator[Pair]:
    if not BINARIES:
        pytest.skip("no PostgreSQL server is installed here; make test-lab installs one")
    place = Path(tempfile.mkdtemp(prefix="restante-pair-"))  # pytest's own folders are closed to another user
    place.chmod(0o755)
    made = Pair(place, BINARIES)
    try:
        made.begin()
        yield made
    finally:
        made.end()
        shutil.rmtree(place)


def restored(pair: Pair, to: float | None = None, file: str = "") -> int:
    """Messages in the store that comes back, from the backup `file` or the newest that fits."""
    directory = pair.settings.directory
    path = directory / (file or folder.chosen(directory, to).file)
    return recover.recover(job.cluster(pair.settings), path, directory / "restored", to, directory.owner())[1]


def tried(pair: Pair) -> int:
    return trial.hold(job.cluster(pair.settings), pair.settings).messages


@pytest.mark.parametrize(
    "alone", [None, 0, 3], ids=["all of it was acknowledged", "the last mails were not", "nor the last segments"]
)
def test_the_log_goes_on_when_its_leader_dies_and_what_was_acknowledged_comes_back(
    pair: Pair, alone: int | None
) -> None:
    pair.receive()
    pair.first.deliver(5)
    job.make(pair.settings)
    pair.first.deliver(5)
    before = time.time()
    if alone is not None:
        pair.lead_alone(alone)
    pair.fail_over()
    with pytest.raises(FoundError, match="the leader writes timeline 2"):
        tried(pair)
    pair.receive()
    pair.second.deliver(5)
    after = time.time()
    pair.second.deliver(5)
    assert tried(pair) == 20
    assert [restored(pair, before), restored(pair, after), restored(pair)] == [10, 15, 20]


def test_a_moment_before_a_failover_comes_back_though_no_log_of_the_next_leader_came(pair: Pair) -> None:
    pair.receive()
    pair.first.deliver(5)
    job.make(pair.settings)
    before = time.time()
    pair.first.deliver(5)
    pair.fail_over()
    # What the receiver asks for first.
    history = pair.second.folder / "data/pg_wal/00000002.history"
    shutil.copy(history, wal.folder(pair.settings.directory, 1))
    with pytest.raises(FoundError, match="has a gap: 00000002"):
        restored(pair)
    assert restored(pair, before) == 5


def test_what_a_leader_had_alone_is_kept_apart_and_a_backup_that_stands_on_it_is_replaced(pair: Pair) -> None:
    pair.receive()
    pair.first.deliver(5)
    sound = job.make(pair.settings)
    pair.lead_alone(3)
    alone = job.make(pair.settings)
    wanted = pair.settings.directory / "wanted"
    wanted.unlink()
    pair.fail_over()
    pair.receive()
    pair.second.deliver(5)
    line = wal.folder(pair.settings.directory, 1)
    assert alone.segment in {path.name.removesuffix(".partial") for path in line.glob("aside-*/*")}
    with pytest.raises(FoundError, match="a leader that had gone on alone"):
        tried(pair)
    assert restored(pair, file=sound.file) == 10
    assert wanted.exists()
    made = job.make(pair.settings)
    pair.second.sql("SELECT pg_switch_wal()")
    pair.second.deliver(5)
    wal.prune(job.cluster(pair.settings), pair.settings.directory, [alone, made])
    assert tried(pair) == 15
