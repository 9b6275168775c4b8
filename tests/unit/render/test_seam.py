"""The seam: what the kit renders is what the runtime reads, though neither imports the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.server.backup.settings import load as load_backup
from restante.server.settings import load

GOLDEN = Path(__file__).parents[2] / "golden"
BACKUPS = sorted(GOLDEN.glob("*/hosts/*/etc/restante/backup.toml"))
FILES = sorted(GOLDEN.glob("*/hosts/*/etc/restante/restante.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.parents[2].name)
def test_the_server_reads_what_is_rendered(file: Path) -> None:
    found = load(file)
    assert found.server.host == file.parents[2].name
    assert found.inboxes.predefined
    assert found.postfix.recipients


@pytest.mark.parametrize("file", BACKUPS, ids=lambda path: path.parents[2].name)
def test_the_timer_reads_what_is_rendered_for_it(file: Path) -> None:
    """And a post office looks for copies where the timer puts them."""
    found, office = load_backup(file), file.with_name("restante.toml")
    assert (found.engine == "sqlite") == office.exists()
    if office.exists():
        assert (found.directory, found.path) == (load(office).backups, load(office).store_path)


def test_there_is_something_to_read() -> None:
    assert len(FILES) == 3
    assert len(BACKUPS) == 2
