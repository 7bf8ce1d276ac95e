"""Truths in pieces: which references are cut, and that a cut one judges as the whole does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from kforge.data.tasks.describe import describe_workload
from kforge.data.tasks.loader import Value, load_task
from kforge.data.tasks.registry import resolve
from kforge.errors import TaskError
from kforge.eval import pieces
from kforge.eval.pieces import Piece, pieces_of
from kforge.eval.workbench import Verified, Workbench, Wrong


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut what fits anywhere."""
    monkeypatch.setattr(pieces, "WHOLE_VALUES", 1 << 12)
    monkeypatch.setattr(pieces, "PIECE_VALUES", 1 << 14)


def tensor(value: Value) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def cut(module: nn.Module, *inputs: Value) -> tuple[Piece, ...]:
    def run(values: Sequence[Value]) -> list[Tensor]:
        try:
            return [module(*values)]
        except RuntimeError as error:  # as a loaded task tells it
            raise TaskError(str(error), "") from error

    with torch.no_grad():
        return pieces_of(inputs, run(inputs), run)


X = torch.randn(96, 8, 32, generator=torch.Generator().manual_seed(1))


class Through(nn.Module):
    """Any function as a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, *values: Value) -> Tensor:
        assert callable(self.function)
        found: Tensor = self.function(*values)
        return found


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "module",
    [nn.ReLU(), nn.Softmax(2), nn.LayerNorm(32), nn.Linear(32, 16), nn.BatchNorm1d(8).eval()],
    ids=lambda m: type(m).__name__,
)
def test_samples_that_stand_alone_are_cut(module: nn.Module) -> None:
    found = cut(module, X)
    assert len(found) > 1
    assert torch.equal(torch.cat([tensor(p.inputs([X])[0]) for p in found]), X)
    assert (found[0].start, found[-1].stop) == (0, 96)


def shifted(x: Tensor) -> Tensor:
    return x.roll(1, 0)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    "module",
    [
        nn.BatchNorm1d(8).train(),
        nn.Softmax(0),
        Through(shifted),
        Through(lambda x: x.cumsum(0)),
        Through(lambda x: x.flip(0).cumsum(0).flip(0)),
        Through(lambda x: x - x.mean()),
        Through(lambda x: x / x.abs().max()),
        Through(lambda x: x.sum()),
        Through(lambda x: x.transpose(0, 1).contiguous()),
    ],
    ids=["batch norm", "softmax", "roll", "cumsum", "reverse cumsum", "mean", "max", "scalar", "transposed"],
)
def test_samples_that_know_of_each_other_are_not(module: nn.Module) -> None:
    assert cut(module, X) == ()


@pytest.mark.usefixtures("small_pieces")
def test_what_is_no_batch_is_passed_whole() -> None:
    weight = torch.randn(32, 16)
    found = cut(Through(lambda x, w: x @ w), X, weight)
    assert len(found) > 1
    assert found[0].sliced == (True, False)
    assert found[0].inputs([X, weight])[1] is weight


@pytest.mark.usefixtures("small_pieces")
def test_a_second_matrix_with_as_many_rows_is_not_mistaken_for_a_batch() -> None:
    square, other = torch.randn(96, 96), torch.randn(96, 96)
    found = cut(Through(lambda a, b: a @ b), square, other)
    assert found
    assert found[0].sliced == (True, False)


@pytest.mark.usefixtures("small_pieces")
def test_a_reference_that_relies_on_its_batch_is_not_cut() -> None:
    def run(values: object) -> list[Tensor]:
        raise TaskError("its code wants 96 samples", "leave it whole")

    assert pieces_of([X], [torch.relu(X)], run) == ()


def test_small_ones_stay_whole() -> None:
    assert cut(nn.ReLU(), X) == ()


@pytest.mark.parametrize("in_pieces", [False, True])
def test_pieces_and_the_whole_judge_alike(in_pieces: bool, request: pytest.FixtureRequest) -> None:
    if in_pieces:
        request.getfixturevalue("small_pieces")
    (workload,) = load_task(resolve("kb/L1/88"), "small").workloads
    seeds = iter(range(1000, 9000))
    bench = Workbench(workload, describe_workload(workload), lambda: next(seeds))
    draw = bench.draw("own")
    (right,) = bench.eager(draw)
    found = bench.verify([right], draw, "ieee")
    assert isinstance(found, Verified), found
    assert found.kb_correct
    wrong = right.clone()
    wrong[200, 33] += 0.01
    refused = bench.verify([wrong], draw, "ieee")
    assert isinstance(refused, Wrong), refused
    assert "(200, 33)" in refused.mismatch.reason
    wrong[201, 5] = torch.nan
    refused = bench.verify([wrong], draw, "ieee")
    assert isinstance(refused, Wrong), refused
