"""The seam: what the kit renders is what the runtime reads, though neither imports the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante.server.settings import load

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = sorted(GOLDEN.glob("*/hosts/*/etc/restante/restante.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.parents[2].name)
def test_the_server_reads_what_is_rendered(file: Path) -> None:
    found = load(file)
    assert found.server.host == file.parents[2].name
    assert found.inboxes.predefined
    assert found.postfix.recipients


def test_there_is_something_to_read() -> None:
    assert len(FILES) == 3
