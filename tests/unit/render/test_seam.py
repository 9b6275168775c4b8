"""The seam: what the kit renders is what the runtime reads, though neither imports the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.server.backup.cluster import SLOT
from restante.server.backup.settings import load as load_backup
from restante.server.cluster.settings import load as load_cluster
from restante.server.settings import load
from restante.server.store.migrations import _LOCK

GOLDEN = Path(__file__).parents[2] / "golden"
CLUSTERS = sorted(GOLDEN.glob("*/hosts/*/etc/restante/cluster.json"))
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
    assert (found.engine == "postgresql-ha") == bool(found.server)
    if found.engine == "sqlite":
        assert (found.directory, found.path) == (load(office).backups, load(office).store_path)


@pytest.mark.parametrize("file", CLUSTERS, ids=lambda path: path.parents[2].name)
def test_a_member_reads_what_is_rendered_for_it(file: Path) -> None:
    found = load_cluster(file)
    assert found.own == file.parents[2].name
    assert found.members.keys() == {path.parents[2].name for path in CLUSTERS}
    assert SLOT in found.settings["slots"]


def test_the_roles_of_a_store_are_not_changed_while_a_post_office_migrates() -> None:
    """Both take one lock."""
    setups = sorted(GOLDEN.glob("*/hosts/*/usr/local/lib/restante/store-setup"))
    assert {path.parents[6].name for path in setups} >= {"two-tier", "ha"}
    for each in setups:
        assert f"pg_advisory_xact_lock({_LOCK})" in each.read_text()


def test_there_is_something_to_read() -> None:
    assert len(FILES) == 5
    assert len(BACKUPS) == 3
    assert len(CLUSTERS) == 3
