"""Checks of this export: ``python test_export.py``, or pytest. They need torch and this folder, no kforge.

Every check draws new inputs and new weights.
"""

from __future__ import annotations

import copy
import importlib
import sys
import threading
import unittest
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from . import drawing
    from .contents import plans, provenance
    from .model_new import ModelNew
else:
    HERE = Path(__file__).resolve().parent
    if str(HERE.parent) not in sys.path:
        sys.path.insert(0, str(HERE.parent))
    drawing = importlib.import_module(f"{HERE.name}.drawing")
    plans = importlib.import_module(f"{HERE.name}.contents").plans
    provenance = importlib.import_module(f"{HERE.name}.contents").provenance
    ModelNew = importlib.import_module(f"{HERE.name}.model_new").ModelNew

# Of a value's own size and of its tensor's, together: far above rounding, far below a wrong formula.
TOLERANCE = {"ieee": 1e-3, "tf32": 1e-2, "fp16": 1e-2, "bf16": 4e-2}


def test_it_agrees_with_the_eager_model() -> None:
    """Random weights, the task's inputs and ones of both signs, against the eager model in fp64."""
    where = needs_device()
    for number in range(len(plans()["workloads"])):
        for draw in (lambda n, values: values, drawing.spread):
            eager, new = drawing.pair(number, where)
            values = draw(number, drawing.inputs(number, where))
            with torch.no_grad(), drawing.own_precision():
                got = outputs(new(*values))
                want = outputs(exact(eager, values))
            assert new.fast_path.counts == {"kernels": 1, "eager": 0}, new.fast_path.last_reason
            compare(got, want)


def test_state_dict_and_constructor_are_those_of_model() -> None:
    """What was saved from one is loaded into the other; a copy runs by itself."""
    where = needs_device()
    eager, new = drawing.pair(0, where)
    assert list(new.state_dict()) == list(eager.state_dict())
    again = copy.deepcopy(new)
    values = drawing.inputs(0, where)
    with torch.no_grad(), drawing.own_precision():
        assert all(
            torch.equal(a, b) for a, b in zip(outputs(new(*values)), outputs(again(*values)), strict=True)
        )
    assert again.fast_path.counts["kernels"] == 1, again.fast_path.last_reason


def test_another_type_runs_the_eager_model_and_says_so_once() -> None:
    """Kernels for another type are not there: ``Model`` runs."""
    where = needs_device()
    eager, new = drawing.pair(0, where)
    values = doubled(drawing.inputs(0, where))
    eager, new = eager.double(), new.double()
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [outputs(new(*values)) for _ in range(2)]
        want = outputs(eager(*values))
    assert new.fast_path.counts == {"kernels": 0, "eager": 2}
    assert len([w for w in caught if "eager Model" in str(w.message)]) == 1, [str(w.message) for w in caught]
    for got in results:
        compare(got, want)
    new.fast_path.strict = True
    with torch.no_grad():
        expect_error(lambda: new(*values), "strict")


def test_gradients_are_refused_and_never_wrong() -> None:
    """An input's gradient is an error; a parameter's comes from ``Model``."""
    where = needs_device()
    _, new = drawing.pair(0, where)
    values = drawing.inputs(0, where)
    floating = [v for v in values if isinstance(v, Tensor) and v.is_floating_point()]
    if floating:
        floating[0].requires_grad_()
        expect_error(lambda: new(*values), "no_grad")
        floating[0].requires_grad_(False)
    if any(True for _ in new.parameters()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = outputs(new(*values))
        assert new.fast_path.reasons["gradients"] == 1
        assert result[0].requires_grad or not result[0].is_floating_point()
    new.requires_grad_(False)
    new(*values)
    assert new.fast_path.counts["kernels"] == 1, new.fast_path.last_reason


def test_two_threads_get_their_own_results() -> None:
    """Arguments of two calls never mix."""
    where = needs_device()
    jobs = []
    for _ in range(2):
        _, new = drawing.pair(0, where)
        jobs.append((new, drawing.inputs(0, where)))
    alone = []
    with drawing.own_precision():
        for new, values in jobs:
            with torch.no_grad():
                alone.append(outputs(new(*values)))
        together: list[list[Tensor]] = [[], []]

        def work(position: int) -> None:
            new, values = jobs[position]
            with torch.no_grad():
                for _ in range(5):
                    together[position] = outputs(new(*values))

        threads = [threading.Thread(target=work, args=(position,)) for position in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for got, want in zip(together, alone, strict=True):
        assert got, "a thread failed"
        compare(got, want)


def test_it_runs_on_the_current_stream() -> None:
    """What was enqueued before it on a side stream has happened."""
    where = needs_cuda()
    _, new = drawing.pair(0, where)
    values, late = drawing.inputs(0, where), drawing.inputs(0, where)
    with torch.no_grad(), drawing.own_precision():
        want = outputs(new(*late))
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)  # type: ignore[no-untyped-call]  # the inputs change long after the call was made
            for value, source in zip(values, late, strict=True):
                if isinstance(value, Tensor):
                    value.copy_(source)
            got = outputs(new(*values))
        stream.synchronize()
    compare(got, want)


def test_a_cuda_graph_replays_it() -> None:
    """A captured call computes with what its inputs hold at the replay."""
    where = needs_cuda()
    _, new = drawing.pair(0, where)
    values, other = drawing.inputs(0, where), drawing.inputs(0, where)
    with torch.no_grad(), drawing.own_precision():
        want = outputs(new(*other))
        graph = captured(lambda: new(*values))
        for value, source in zip(values, other, strict=True):
            if isinstance(value, Tensor):
                value.copy_(source)
        graph.replay()
        torch.cuda.synchronize()
        compare(outputs(graph.result), want)


# ------------------------------------------------------------------------------------------ what they use


class Captured:
    """A CUDA graph and what its capture returned."""

    def __init__(self, graph: torch.cuda.CUDAGraph, result: Any) -> None:  # noqa: ANN401
        self.graph, self.result = graph, result

    def replay(self) -> None:
        """Enqueue the graph."""
        self.graph.replay()


def captured(work: Callable[[], Any]) -> Captured:
    """Capture some work, after it ran on a side stream as torch asks."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return Captured(graph, result)


def needs_device() -> torch.device:
    """The kernels' device, or the check is skipped."""
    where = drawing.device()
    if where is None:
        raise unittest.SkipTest("no NVIDIA GPU")
    return where


def needs_cuda() -> torch.device:
    """The same, for checks of what only CUDA has."""
    if provenance()["language"] != "cuda":
        raise unittest.SkipTest("the kernels are not CUDA")
    return needs_device()


def outputs(result: Any) -> list[Tensor]:  # noqa: ANN401
    """What a model returned, as a list."""
    return [*result] if isinstance(result, tuple | list) else [result]


def doubled(values: list[Any]) -> list[Any]:
    """Floating tensors in fp64."""
    return [v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for v in values]


def exact(eager: torch.nn.Module, values: list[Any]) -> Any:  # noqa: ANN401
    """The eager model in fp64; as it is where an operator has no fp64."""
    try:
        return copy.deepcopy(eager).double()(*doubled(values))
    except (RuntimeError, NotImplementedError):
        return eager(*values)


def compare(got: list[Tensor], want: list[Tensor]) -> None:
    """Equal within the tolerance of the kernels' precision."""
    assert len(got) == len(want)
    allowed = TOLERANCE[provenance()["precision"]]
    for number, (mine, theirs) in enumerate(zip(got, want, strict=True)):
        assert mine.shape == theirs.shape, (mine.shape, theirs.shape)
        if not theirs.is_floating_point():
            assert torch.equal(mine, theirs.to(mine.dtype)), f"output {number} differs"
            continue
        wanted = theirs.double()
        assert torch.equal(torch.isfinite(mine), torch.isfinite(wanted)), (
            f"output {number}: other values are finite"
        )
        wanted = wanted.nan_to_num(0.0, 0.0, 0.0)
        error = (mine.double().nan_to_num(0.0, 0.0, 0.0) - wanted).abs()
        bound = allowed * (wanted.abs() + wanted.square().mean().sqrt())
        worst = float((error / (bound + 1e-30)).max()) if error.numel() else 0.0
        assert worst <= 1.0, f"output {number} is off by {worst:.3g} times what is allowed"


def expect_error(work: Callable[[], object], word: str) -> None:
    """``work`` raises a RuntimeError that says ``word``."""
    said = "nothing"
    try:
        work()
    except RuntimeError as error:
        said = str(error)
    assert word in said, f"{said}; an error with {word!r} was expected"


def run_all() -> dict[str, str]:
    """Every check by name: ``passed``, ``skipped: why`` or ``failed: why``."""
    found: dict[str, str] = {}
    for name, check in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            check()
            found[name] = "passed"
        except unittest.SkipTest as why:
            found[name] = f"skipped: {why}"
        except Exception as error:  # noqa: BLE001 - the border to whoever reads the report
            found[name] = f"failed: {type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    results = run_all()
    for check_name, what in results.items():
        sys.stdout.write(f"{check_name}: {what}\n")
    sys.exit(any(what.startswith("failed") for what in results.values()))
