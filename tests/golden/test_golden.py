"""Golden bytes are shipped bytes: what each example renders to, file by file, reviewed as a diff."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from restante import resources
from restante.cli.facts import gather
from restante.plan.build import build
from restante.render.bundle import Bundle, render_bundle
from restante.render.write import write
from restante.spec.load import load

HERE = Path(__file__).parent
EXAMPLES = sorted(path.stem for path in resources.examples().glob("*.yml"))
SOURCES = ("roles/", "checks/", "site.yml", "manifest.json")  # these have tests of their own


def bundle(example: str) -> Bundle:
    loaded = load(resources.examples() / f"{example}.yml")
    facts = gather(loaded, datetime(2026, 1, 1, tzinfo=UTC))
    # The server's release changes with every line of its code; what is shown here is where it goes.
    return render_bundle(build(loaded, replace(facts, server="0123456789abcdef")))


def golden(example: str) -> Bundle:
    """Without what is carried as it is, which would be a second copy of it here."""
    return {
        path: content
        for path, content in bundle(example).items()
        if not path.startswith(SOURCES) and "/opt/" not in path
    }


@pytest.mark.parametrize("example", EXAMPLES)
def test_renders_to_its_golden_tree(example: str) -> None:
    folder, found = HERE / example, golden(example)
    if os.environ.get("RESTANTE_GOLDEN") == "write":
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in found.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    expected = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(expected)
    for path, content in found.items():
        assert content.decode() == expected[path].decode(), path


@pytest.mark.parametrize("example", EXAMPLES)
def test_same_spec_same_bytes(example: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(bundle(example), tmp_path / name)
    trees = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    ]
    assert trees[0] == trees[1]
