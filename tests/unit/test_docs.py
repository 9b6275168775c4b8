"""The build fails when the docs lag: generated references, links, and the commands that a reader would type."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from restante.cli.main import VERBS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import generate  # noqa: E402 - docs/ is no package

PAGES = generate.pages()
MARKDOWN = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_generated_reference_is_up_to_date(page: str) -> None:
    path = ROOT / "docs" / page
    if os.environ.get("RESTANTE_GOLDEN") == "write":
        path.write_text(PAGES[page])
    assert path.read_text() == PAGES[page], "make golden writes it anew"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(path: Path) -> None:
    for verb in re.findall(r"^\s*(?:\$ )?(?:\.venv/bin/)?restante ([a-z]+)", path.read_text(), re.MULTILINE):
        assert verb in VERBS, f"{path.name} shows restante {verb}"
