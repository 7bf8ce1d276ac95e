"""A task's file at a size is a plain file with other constants."""

from __future__ import annotations

import pytest

from kforge.errors import UsageError
from kforge.export.reference_source import at_size, changes_model

SOURCE = """n = m = 8
twice = 2 * n
slope = 0.1


class Model:
    scale = slope


def get_inputs():
    return [n, twice]
"""


def run(source: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(source, names)
    return names


def test_what_follows_from_a_constant_follows() -> None:
    found = run(at_size(SOURCE, {"n": 3}, "small"))
    assert (found["n"], found["m"], found["twice"]) == (3, 8, 6)
    assert at_size(SOURCE, {}, "full") == SOURCE


def test_two_statements_on_a_line_are_refused_where_it_matters() -> None:
    with pytest.raises(UsageError, match="Line 1"):
        at_size("n = 8; k = 2 * n\n", {"n": 3}, "small")
    assert run(at_size("n = 8; k = 2 * n\n", {"k": 3}, "small"))["k"] == 3


@pytest.mark.parametrize(
    ("overrides", "reaches"), [({"n": 4}, False), ({"slope": 0.2}, True), ({"twice": 1}, False)]
)
def test_constants_of_the_model_are_told_from_those_of_its_arguments(
    overrides: dict[str, object], reaches: bool
) -> None:
    assert changes_model(SOURCE, overrides) is reaches


def test_what_the_model_derives_reaches_it() -> None:
    assert changes_model("n = 1\nhalf = n / 2\ndef f(x):\n    return x * half\n", {"n": 2})
