"""The fixture that every test of the role needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_host import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    root = tmp_path / "root"
    for folder in ("etc/systemd/system", "var/tmp", "var/lib", "opt"):
        (root / folder).mkdir(parents=True)
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="13"\n')
    return Machine(root)
