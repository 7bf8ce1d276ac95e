"""Recorded landscapes: readers that trust no file, searches that repeat, statements that follow from them."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kforge.api.bench_search import SearchBench, bench_search, document, search_plan
from kforge.errors import UsageError
from kforge.search.archive import Archive, Entry
from kforge.search.landscapes import read
from kforge.search.landscapes.compare import Comparison, compare, random_best
from kforge.search.landscapes.criteria import judge
from kforge.search.landscapes.landscape import Landscape
from kforge.search.landscapes.plot import page_of
from kforge.search.landscapes.read import read_landscape, read_landscapes
from kforge.search.landscapes.runs import ARMS, Plan, Setting, run_all
from kforge.search.landscapes.table_archive import TableArchive
from kforge.types import Measures
from tests.cli.terminal import ROOT

RECORDED = ROOT.parent / "shared" / "landscapes"
SMALL = Setting("small", 1)

levels = st.integers(0, 3)
entries = st.lists(
    st.tuples(st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.5]), st.tuples(levels, levels, levels)),
    max_size=25,
)


@settings(max_examples=20, deadline=None)
@given(entries)
def test_the_table_archive_says_what_the_archive_says(
    offered: list[tuple[float, tuple[int, int, int]]],
) -> None:
    real, table = Archive(), TableArchive()
    for number, (objective, cell) in enumerate(offered):
        entry = Entry(str(number), objective, Measures(*cell))
        said, told = real.add(entry), table.add(entry)
        assert said.status == told.status
        assert said.improvement == pytest.approx(told.improvement)
    assert real.elites() == table.elites()
    assert real.best() == table.best()


def t4(*results: dict[str, Any]) -> dict[str, Any]:
    return {"schema_version": "1.0.0", "metadata": {}, "results": list(results)}


def result(x: int | str, y: int, time: float | str, runtimes: list[float] | None = None) -> dict[str, Any]:
    return {
        "configuration": {"x": x, "y": y, "fixed": 3},
        "times": {} if runtimes is None else {"runtimes": runtimes},
        "invalidity": "compile" if isinstance(time, str) else "correct",
        "measurements": [{"name": "time", "value": time, "unit": "ms"}],
    }


def cache(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"tune_params_keys": ["x", "y"], "cache": {str(number): row for number, row in enumerate(rows)}}


def write(path: Path, content: object) -> Path:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" and content != b"torn" else data)
    return path


@pytest.mark.parametrize("name", ["mine-gpu.T4.json", "mine-gpu.T4.json.gz"])
def test_results_are_read(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / name,
        t4(
            result(16, 1, 2.0, [1.9, 2.1]),
            result(8, 1, 4.0, [4.0, 0.0, 4.2]),
            result(8, 2, "CompilationFailedConfig"),
            result("auto", 2, 3.0),
            result(8, 1, 9.0),
        ),
    )
    landscape = read_landscape(path)
    assert (landscape.name, landscape.parameters, landscape.choices) == ("mine-gpu", ("x", "y"), (3, 2))
    assert landscape.configurations.tolist() == [[1, 0], [0, 0], [0, 1], [2, 1]]
    assert landscape.means.tolist() == [2.0, 4.0, math.inf, 3.0]
    assert landscape.runtimes.tolist() == [1.9, 2.1, 4.0, 4.2, math.inf, 3.0]
    assert landscape.starts.tolist() == [0, 2, 4, 5, 6]


def test_a_cache_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine-gpu.kt.json",
        cache(
            {"x": 1, "y": 1, "time": 5.0, "times": [5.0, 5.5], "GFLOP/s": 3.0},
            {"x": 1, "y": 2, "time": 1e20},
            {"x": 2, "y": 1, "time": None, "times": None},
            {"x": 3, "y": 1, "time": "RuntimeFailedConfig", "times": []},
            {"x": 2, "y": 2, "time": 4.0},
        ),
    )
    landscape = read_landscape(path)
    assert (landscape.name, landscape.optimum) == ("mine-gpu", 4.0)
    assert landscape.means.tolist() == [5.0, math.inf, math.inf, math.inf, 4.0]
    assert landscape.runtimes.tolist() == [5.0, 5.5, math.inf, math.inf, math.inf, 4.0]


BAD: dict[str, tuple[str, object, str]] = {
    "not JSON": ("a.json", b"{", "not JSON"),
    "not text": ("a.json", b"\xff\xfe\x00", "not JSON"),
    "deep": ("a.json", b"[" * 100_000, "not JSON"),
    "huge number": ("a.json", b'{"results": ' + b"9" * 6000 + b"}", "not JSON"),
    "no object": ("a.json", [1], "no object"),
    "torn": ("a.json.gz", b"torn", "cannot be read"),
    "neither": ("a.json", {"rows": []}, "neither the key"),
    "no results": ("a.json", t4(), "results"),
    "no configuration": ("a.json", t4({"invalidity": "correct"}), "results.0.configuration"),
    "a list for a value": ("a.json", t4({**result(1, 1, 1.0), "configuration": {"x": [1]}}), "results.0"),
    "words for runtimes": ("a.json", t4({**result(1, 1, 1.0), "times": {"runtimes": ["x"]}}), "runtimes.0"),
    "other measurement": (
        "a.json",
        t4({**result(1, 1, 1.0), "measurements": [{"name": "power", "value": 1.0}]}),
        "none is called time",
    ),
    "other parameters": (
        "a.json",
        t4(result(1, 1, 1.0), {**result(1, 1, 1.0), "configuration": {"z": 1}}),
        "configuration 1",
    ),
    "nothing works": (
        "a.json",
        t4(result(1, 1, "x"), result(2, 1, "x"), result(3, 1, 1.0)),
        "fewer than two",
    ),
    "no keys": ("a.json", {"cache": {"1": {"time": 1.0}}}, "tune_params_keys"),
    "a parameter lacks": ("a.json", cache({"x": 1, "time": 1.0}), "cache.0: no number or word for y"),
    "no time": ("a.json", cache({"x": 1, "y": 1}), "cache.0.time"),
    "a cell of a list": ("a.json", {"tune_params_keys": ["x"], "cache": {"1": [1]}}, "cache.1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_with_the_cause(tmp_path: Path, name: str) -> None:
    file, content, cause = BAD[name]
    path = write(tmp_path / file, content)
    with pytest.raises(UsageError) as raised:
        read_landscape(path)
    assert str(path) in raised.value.message
    assert cause in raised.value.message
    assert raised.value.next_step


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="larger than"):
        read_landscape(write(tmp_path / "a.json.gz", b" " * 100_000))


def test_a_directory_without_landscapes_and_one_with_twins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no file"):
        read_landscapes(tmp_path)
    good = t4(result(1, 1, 1.0), result(2, 2, 2.0))
    write(tmp_path / "README.md", b"")
    write(tmp_path / "a.json", good)
    assert [landscape.name for landscape in read_landscapes(tmp_path)] == ["a"]
    write(tmp_path / "a.T4.json.gz", good)
    with pytest.raises(UsageError, match="second landscape of the name a"):
        read_landscapes(tmp_path)


def toy(name: str, slope: float = 0.1) -> Landscape:
    """A bowl in three parameters with one optimum, and a failure at every seventh place."""
    grid = np.indices((8, 8, 8)).reshape(3, -1).T.astype(np.int64)
    means = 1.0 + slope * np.abs(grid - [6, 2, 5]).sum(axis=1)
    means[::7] = np.inf
    means[6 * 64 + 2 * 8 + 5] = 1.0
    return Landscape(name, ("a", "b", "c"), (8, 8, 8), grid, means, means, np.arange(len(means) + 1))


def plan_of(*arms: str, seeds: int = 6, workers: int = 1) -> Plan:
    return Plan(arms, (Setting("small", workers), Setting("large", workers)), (10, 50), seeds, 3)


def compared(*arms: str, seeds: int = 20) -> Comparison:
    plan, landscapes = plan_of(*arms, seeds=seeds), (toy("bowl-a"), toy("bowl-b", 0.3), toy("dish-a", 0.02))
    return compare(plan, landscapes, run_all(plan, landscapes, processes=1), SMALL)


def test_the_random_baseline_is_the_expected_minimum() -> None:
    landscape = replace(toy("bowl"), means=np.array([3.0, np.inf, 1.0, 2.0]))
    # Of one draw that works, a third each; of two draws: 1 in half of all pairs, 2 in two, 3 in one of six.
    assert random_best(landscape, 6) == pytest.approx([2.0, 3 / 6 + 2 * 2 / 6 + 3 / 6, 1.25, 1.0, 1.0, 1.0])


def test_a_climb_beats_random_attempts_on_a_bowl() -> None:
    comparison = compared("random", "greedy")
    better = comparison.overall("greedy", 50, "random")
    assert comparison.best(50) == "greedy"
    assert better.mean > better.low > 0.01
    assert comparison.overall("random", 50, "greedy").mean == pytest.approx(-better.mean)
    assert comparison.in_family("bowl", "greedy", "random", 50).low > 0
    place = comparison.arms.index("greedy")
    assert (comparison.scores[place, :, 1] > 0.5).all()
    assert comparison.on("bowl-a", "greedy", 50).mean == pytest.approx(comparison.fractions[place, 0, 1])


def test_random_attempts_score_about_nothing() -> None:
    comparison = compared("random", seeds=200)
    assert abs(float(comparison.score_curves[0, 9])) < 0.15


def test_criteria_hold_the_bound_against_the_limit() -> None:
    comparison = compared("random", "greedy", "map-elites")
    good, bad = judge(comparison, "greedy"), judge(comparison, "random")
    assert [criterion.met for criterion in good] == [True, True]
    assert [criterion.against for criterion in bad] == ["greedy", "greedy"]
    assert not any(criterion.met or criterion.met_by_mean for criterion in bad)


@pytest.mark.parametrize("workers", [1, 4])
def test_the_same_seed_gives_the_same_whatever_the_processes(workers: int) -> None:
    plan, landscapes = plan_of(*ARMS, workers=workers), (toy("bowl-a"), toy("dish-a"))
    one, two = run_all(plan, landscapes, processes=1), run_all(plan, landscapes, processes=2)
    assert list(one) == list(two)
    for job in one:
        assert np.array_equal(one[job].fractions, two[job].fractions)
        assert np.array_equal(one[job].times, two[job].times)
    other = run_all(replace(plan, seed=4), landscapes, processes=1)
    assert any(not np.array_equal(one[job].fractions, other[job].fractions) for job in one)


def test_every_arm_starts_from_the_same_kernel_of_the_slow_half() -> None:
    plan, landscape = replace(plan_of(*ARMS), evals=(1, 10)), toy("bowl-a")
    runs = run_all(plan, (landscape,), processes=1)
    starts = {tuple(found.fractions[:, 0]) for found in runs.values()}
    assert len(starts) == 1
    median = np.median(landscape.means[np.isfinite(landscape.means)])
    assert max(starts.pop()) <= 1.0 / median


@pytest.mark.parametrize(
    ("option", "value"),
    [("seeds", 1), ("evals", [0]), ("evals", []), ("workers", [0]), ("steps", "huge")],
)
def test_options_out_of_range(option: str, value: object) -> None:
    options: dict[str, Any] = {"seeds": 5, "evals": [50], "workers": [1], "steps": "small", "seed": 1}
    with pytest.raises(UsageError) as raised:
        search_plan([], **{**options, option: value})
    assert f"--{option}" in raised.value.message
    assert search_plan(["default", "harmonic"], **options).arms == ("harmonic",)
    assert search_plan([], **options).arms == ARMS


def test_the_page_draws_every_arm_and_runs_nothing() -> None:
    page = page_of([compared("random", "greedy", seeds=3)])
    assert page.count("<svg") == 2
    assert page.count('<path class="greedy"') == 2
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded landscapes are not here")
def test_the_recorded_landscapes(tmp_path: Path) -> None:
    files = sorted(RECORDED.glob("*.json.gz"), key=lambda path: path.stat().st_size)[:3]
    for path in files:
        (tmp_path / path.name).symlink_to(path)
    plan = search_plan(["default", "best-of-n"], seeds=5, evals=[50], workers=[1], steps="small", seed=1)
    done: SearchBench = bench_search(tmp_path, plan, processes=1)
    said = document(done)
    assert len(said["rows"]) == 2 * len(files)
    assert all(0 < row["low"] <= row["fraction"] <= row["high"] <= 1 for row in said["rows"])
    assert said["means"][0]["fraction"] > said["means"][1]["fraction"]
