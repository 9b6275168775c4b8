from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from office import Office, serving, settings


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with serving(settings(tmp_path)) as running:
        yield running
