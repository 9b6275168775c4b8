"""YAML in, plain data and places out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.errors import SpecError
from restante.spec.document import read


def test_every_key_and_value_has_its_place() -> None:
    document = read("a: 1\nb:\n  - c: x\n", "f")
    assert document.data == {"a": 1, "b": [{"c": "x"}]}
    assert document.keys["b", 0, "c"] == (3, 5)
    assert document.places["b", 0, "c"] == (3, 8)


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("on", "on"), ("1:30", "1:30"), ("0x1f", "0x1f"), ("true", True), ("~", None), ("-7", -7), ("1.5", 1.5), ("'7'", "7")],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert read(f"a: {text}\n", "f").data == {"a": value}


def test_all_duplicate_keys_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        read("a: 1\na: 2\nb: 1\nb: 2\n", "f")
    assert [problem.line for problem in caught.value.problems] == [2, 4]


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        read(text, "f")
    except SpecError as error:
        assert all(problem.message for problem in error.problems)
