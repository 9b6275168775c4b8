"""Each folder holds a spec that is refused and the sentence, or sentences, that the operator reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restante.cli.facts import gather
from restante.errors import SpecError
from restante.plan.build import build
from restante.spec.load import load

HERE = Path(__file__).parent
CASES = sorted(path.parent.name for path in HERE.glob("*/spec.yml"))


def refusal(case: str) -> str:
    try:
        loaded = load(HERE / case / "spec.yml")
        build(loaded, gather(loaded))
    except SpecError as error:
        return str(error).replace(f"{HERE / case}/", "") + "\n"
    pytest.fail(f"{case} is accepted")


@pytest.mark.parametrize("case", CASES)
def test_is_refused_with_its_sentence(case: str) -> None:
    found, expected = refusal(case), HERE / case / "expected-error.txt"
    if os.environ.get("RESTANTE_GOLDEN") == "write":
        expected.write_text(found)
    assert found == expected.read_text()


def test_a_secret_written_in_clear_is_not_repeated() -> None:
    assert "hunter2" not in refusal("secret-in-clear")
    assert "hooks.example.org" not in refusal("webhook-in-clear")


def test_ten_megabytes_are_refused_unread(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yml"
    spec.write_text("restante: 1\n" + "# filler\n" * 1_200_000)
    with pytest.raises(SpecError, match="larger than 4 MiB"):
        load(spec)
