"""``kforge bench search`` as a person or a script has it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal


def landscapes(desk: Path) -> Path:
    """Two small spaces of two families."""
    directory = desk / "landscapes"
    directory.mkdir()
    for name, slope in (("bowl-gpu", 0.2), ("dish-gpu", 0.05)):
        rows = {
            f"{x},{y}": {"x": x, "y": y, "time": 1 + slope * (abs(x - 5) + abs(y - 2))}
            for x, y in itertools.product(range(8), repeat=2)
        }
        rows["7,7"]["time"] = 1e20
        document = {"tune_params_keys": ["x", "y"], "cache": rows}
        (directory / f"{name}.kt.json").write_text(json.dumps(document))
    return directory


QUICK = ("--seeds", "4", "--evals", "5,20", "--strategy", "default", "--strategy", "greedy")


def test_one_document(kforge: Terminal, tmp_path: Path) -> None:
    directory = landscapes(tmp_path)
    done = kforge("bench", "search", "--landscapes", str(directory), *QUICK, "--workers", "1,4", "--json")
    assert (done.code, done.err) == (0, "")
    found = done.document
    assert (found["default"], found["seeds"], found["evals"]) == ("harmonic", 4, [5, 20])
    assert [landscape["name"] for landscape in found["landscapes"]] == ["bowl-gpu", "dish-gpu"]
    assert found["landscapes"][0]["working"] == 63
    assert len(found["rows"]) == 2 * 2 * 2 * 4  # arms, landscapes, evaluations, settings
    for row in found["rows"]:
        assert {"strategy", "landscape", "evals", "fraction", "low", "high", "score"} <= row.keys()
        assert row["low"] <= row["fraction"] <= row["high"]
    assert {row["strategy"] for row in found["criteria"]} == {"harmonic", "greedy"}
    assert [len(curve["fraction"]) for curve in found["curves"]] == [20] * 8


def test_a_table_and_a_page(kforge: Terminal, tmp_path: Path) -> None:
    directory, page = landscapes(tmp_path), tmp_path / "page.html"
    done = kforge(
        "bench", "search", "--landscapes", str(directory), *QUICK, "--steps", "small", "--plot", str(page)
    )
    assert (done.code, done.err) == (0, "")
    assert "2 landscapes of 2 kernel families, 4 seeds" in done.out
    assert "criteria of a default strategy: harmonic" in done.out
    assert page.read_text().startswith("<!doctype html>")


WRONG = {
    "no directory": (["--landscapes", "./none"], "T4 results"),
    "no landscapes": (["--landscapes", "."], "T4 results"),
    "unknown strategy": (["--landscapes", ".", "--strategy", "magic"], "harmonic"),
    "words": (["--landscapes", ".", "--evals", "many"], "--evals 1,4,16"),
    "unknown steps": (["--landscapes", ".", "--steps", "huge"], "small, large or both"),
    "no place for the page": (["--landscapes", ".", "--plot", "./none/page.html"], "directory that exists"),
    "no option": ([], "kforge bench search --help"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage(kforge: Terminal, name: str) -> None:
    arguments, hint = WRONG[name]
    done = kforge("bench", "search", *arguments, "--json")
    assert done.code == 2
    assert hint in done.error["next"]


def test_only_what_exists_is_listed(kforge: Terminal) -> None:
    done = kforge("bench", "--help")
    assert done.code == 0
    assert done.out.split("Commands:")[1].split()[0] == "search"
    assert "prompts" not in done.out
