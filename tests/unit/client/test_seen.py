"""Handled once, across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from restante import Seen


def test_a_name_is_new_once_and_after_a_restart_still_known(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "seen")
    with seen.once("a") as new:
        assert new
    with seen.once("a") as new:
        assert not new
    seen.close()
    assert "a" in Seen(tmp_path / "seen")


def test_what_failed_is_not_remembered(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "seen")
    with pytest.raises(ValueError, match="no"), seen.once("a"):
        raise ValueError("no")
    assert "a" not in seen


def test_the_oldest_go_when_it_is_full(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "seen", limit=3)
    for name in "abcde":
        seen.add(name)
    assert [name for name in "abcde" if name in seen] == ["c", "d", "e"]
