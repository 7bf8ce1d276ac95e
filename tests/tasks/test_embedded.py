"""The embedded tasks run, are described truthfully, and compute what KernelBench publishes."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kforge.codec import from_json, to_json
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import list_tasks, resolve
from kforge.types import TaskDescription

IDS = [
    *(f"kb/L1/{number}" for number in (1, 3, 19, 21, 23, 26, 34, 36, 40, 42, 47, 50, 88, 91, 94, 95, 98)),
    *(f"kb/L2/{number}" for number in (1, 12, 17, 37, 40, 76, 86)),
    *(f"kb/L3/{number}" for number in (1, 43)),
]


def test_the_list_is_complete_and_ordered() -> None:
    tasks = list_tasks()
    assert [task.id for task in tasks] == IDS
    assert all(task.sizes == ("full", "small") and task.title and task.family for task in tasks)
    assert len({task.hash for task in tasks}) == len(IDS)


@pytest.mark.parametrize("task_id", IDS)
def test_small_runs_and_agrees_with_its_description(task_id: str) -> None:
    loaded = load_task(resolve(task_id), "small")
    (workload,) = loaded.workloads
    description = describe(loaded)
    spec = description.workloads[0]
    model, values = workload.model(seed=3), workload.inputs(seed=4)

    outputs, returns_tuple = workload.run(model, values)

    assert [(o.shape, o.strides) for o in spec.outputs] == [(tuple(o.shape), o.stride()) for o in outputs]
    assert returns_tuple == spec.returns_tuple
    assert all(bool(torch.isfinite(output).all()) for output in outputs)
    assert any(float(output.std()) > 0 for output in outputs if output.numel() > 1) or outputs[0].numel() == 1
    for argument, value in zip(spec.inputs, values, strict=True):
        assert isinstance(value, Tensor)
        assert argument.tensor is not None
        assert (argument.tensor.shape, argument.tensor.strides) == (tuple(value.shape), value.stride())
    state = {spec.name: spec.shape for spec in (*spec.parameters, *spec.buffers)}
    assert state == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert from_json(TaskDescription, to_json(description)) == description


def test_the_showcase_sizes_are_the_promised_ones() -> None:
    small = describe(load_task(resolve("kb/L2/17"), "small")).workloads[0]
    full = describe(load_task(resolve("kb/L2/17"), "full")).workloads[0]
    shapes = [workload.inputs[0].tensor.shape for workload in (small, full) if workload.inputs[0].tensor]
    assert shapes == [(64, 16, 32, 32), (128, 64, 128, 128)]
    assert small.init == {"in_channels": 16, "out_channels": 32, "kernel_size": 3, "divide_by": 2.0}
    assert small.outputs[0].shape == (64, 32, 30, 30)


def test_kinds_of_the_divergence_are_probabilities() -> None:
    workload = load_task(resolve("kb/L1/98"), "full").workloads[0]
    assert workload.input_kinds == {"predictions": "probability", "targets": "probability"}


def test_all_full_sizes_are_described_without_allocating_them() -> None:
    """Under an address-space limit of what torch maps plus 1 GiB; one input has 8.6 GB."""
    script = """
import resource
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import list_tasks
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**30,) * 2)
largest = 0
for task in list_tasks():
    for workload in describe(load_task(task, "full")).workloads:
        for spec in (*(i.tensor for i in workload.inputs), *workload.parameters, *workload.outputs):
            elements = 1
            for length in spec.shape:
                elements *= length
            largest = max(largest, 4 * elements)
print(largest)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 4 * 128 * 4096 * 4095  # kb/L1/47


def _published(task_id: str, root: Path) -> types.ModuleType:
    _, level, number = task_id.split("/")
    (path,) = (root / "KernelBench" / f"level{level[1:]}").glob(f"{number}_*.py")
    module = types.ModuleType(path.stem)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


def _shrunk(constructor: list[object]) -> tuple[list[object], dict[int, int]]:
    """Constructor arguments with large integers cut down, and the mapping, to shrink inputs alike.

    In order of size they become 8, 16, 32, ...: what divided another still does.
    """

    def integers(value: object) -> list[int]:
        if isinstance(value, tuple | list):
            return [number for item in value for number in integers(item)]
        return [value] if isinstance(value, int) and value > 8 else []

    cut = {number: 8 << rank for rank, number in enumerate(sorted(set(integers(constructor))))}

    def shrink(value: object) -> object:
        if isinstance(value, tuple | list):
            return type(value)(shrink(item) for item in value)
        return cut.get(value, value) if isinstance(value, int) else value

    return [shrink(value) for value in constructor], cut


def _values(template: Tensor, cut: dict[int, int]) -> Tensor:
    shape = [cut.get(n, min(n, 11)) for n in template.shape]
    if template.is_floating_point():
        return torch.rand(shape).softmax(-1)
    return torch.randint(0, 8, shape, dtype=template.dtype)


@pytest.mark.parametrize("task_id", IDS)
def test_same_as_published(task_id: str) -> None:
    """Same constructor arguments, shapes, weights, inputs and outputs as KernelBench's own file."""
    root = os.environ.get("KERNELBENCH_ROOT")
    if root is None:
        pytest.skip("set KERNELBENCH_ROOT to a KernelBench checkout to compare with the published tasks")
    published = _published(task_id, Path(root))
    (workload,) = load_task(resolve(task_id), "full").workloads
    ours = workload.program.run({})

    assert ours["get_init_inputs"]() == published.get_init_inputs()
    with torch.device("meta"):
        inputs, published_inputs = ours["get_inputs"](), published.get_inputs()
    assert [(x.shape, x.dtype) for x in inputs] == [(x.shape, x.dtype) for x in published_inputs]

    constructor, cut = _shrunk(published.get_init_inputs())
    values = [_values(x, cut) for x in inputs]
    outputs = []
    for model_class in (ours["Model"], published.Model):
        torch.manual_seed(7)
        model = model_class(*constructor)
        outputs.append((model(*values), model.state_dict(), model.training))
    (got, state, training), (expected, expected_state, expected_training) = outputs
    assert torch.equal(got, expected)
    assert training == expected_training
    assert list(state) == list(expected_state)
    assert all(torch.equal(state[name], expected_state[name]) for name in state)


@pytest.mark.parametrize("task_id", IDS)
def test_same_input_distribution_as_published(task_id: str) -> None:
    root = os.environ.get("KERNELBENCH_ROOT")
    if root is None:
        pytest.skip("set KERNELBENCH_ROOT to a KernelBench checkout to compare with the published tasks")
    published = _published(task_id, Path(root))
    (workload,) = load_task(resolve(task_id), "small").workloads
    published.__dict__.update(workload.overrides)
    torch.manual_seed(11)
    expected = published.get_inputs()
    for value, other in zip(workload.inputs(seed=11), expected, strict=True):
        assert isinstance(value, Tensor)
        assert torch.equal(value, other)
