"""Probes: every run's outputs, looked at on secret rows."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.errors import TaskError
from kforge.eval.check import Mismatch
from kforge.eval.workbench import Draw, Workbench


def bench_of(task: str, size: str = "small") -> Workbench:
    loaded = load_task(resolve(task, None), size)
    seeds = itertools.count(11)
    bench = Workbench(loaded.workloads[0], describe(loaded).workloads[0], lambda: next(seeds) * 7919)
    draw = bench.draw("own")
    assert bench.probe(bench.eager(draw), draw) is None, "nothing was learnt yet, so nothing is said"
    bench.verify(bench.eager(draw), draw, "ieee")
    return bench


def looks(bench: Workbench, outputs: list[torch.Tensor], draw: Draw, times: int) -> int:
    return sum(isinstance(bench.probe(outputs, draw), Mismatch) for _ in range(times))


@pytest.mark.parametrize("task", ["kb/L1/19", "kb/L1/1", "kb/L1/94", "kb/L2/76"])
def test_honest_runs_pass_and_the_last_answer_does_not(task: str) -> None:
    bench = bench_of(task)
    last = bench.eager(bench.draw("own"))
    draw = bench.draw("own")
    assert looks(bench, list(bench.eager(draw)), draw, 5) == 0
    assert looks(bench, list(last), draw, 5) == 5


DROPOUT = """
import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.2, training=True)


def get_inputs():
    return [torch.rand(8, 8)]


def get_init_inputs():
    return []
"""


def test_a_reference_that_is_a_matter_of_chance_judges_nobody(tmp_path: Path) -> None:
    """Its own noise would widen what a candidate may differ by."""
    (tmp_path / "task.py").write_text(DROPOUT)
    with pytest.raises(TaskError, match="draws random numbers while it runs") as refused:
        bench_of(str(tmp_path / "task.py"), "full")
    assert "self.eval()" in refused.value.next_step


def test_half_of_the_work_is_seen_in_about_half_of_the_looks() -> None:
    bench = bench_of("kb/L1/19")
    draw = bench.draw("own")
    output = bench.eager(draw)[0].clone()
    output[output.shape[0] // 2 :] = 0.0
    assert 20 <= looks(bench, [output], draw, 100) <= 80, "the rows are secret, and spread over the batch"


def test_rows_that_depend_on_each_other_are_compared_whole() -> None:
    bench = bench_of("kb/L1/1")
    draw = bench.draw("own")
    output = bench.eager(draw)[0].clone()
    output[-1, -1] += 100.0
    assert looks(bench, [output], draw, 3) == 3


def test_nan_is_never_plausible() -> None:
    bench = bench_of("kb/L1/19")
    draw = bench.draw("own")
    output = torch.full_like(bench.eager(draw)[0], float("nan"))
    found = bench.probe([output], draw)
    assert isinstance(found, Mismatch)
    assert "NaN" in found.reason
