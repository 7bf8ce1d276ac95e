"""Published task sets: every file is described, robust-kbench folders are tasks, the device draws."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import resolve
from kforge.errors import TaskError

PROGRAM = """
import torch

def forward_fn(x, w, eps):
    return x * w + eps

class Model(torch.nn.Module):
    def __init__(self, features, eps=0.5):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(features))
        self.eps = eps

    def forward(self, x, fn=forward_fn):
        return fn(x, self.w, self.eps)

def get_inputs(batch_size=2, features=3):
    return [torch.randn(batch_size, features)]

input_names = ["x"]
"""
SETTINGS = {
    "single_input_configs": [{"batch_size": 1}],
    "multi_input_configs": [{"batch_size": 4}, {"batch_size": 8}],
    "multi_init_configs": [{"eps": 0.0}],
    "multi_shared_configs": [{"features": 5}, {"features": 7}],
}


def robust(tmp_path: Path, settings: object) -> Path:
    (tmp_path / "config_forward.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "func_forward.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path / "func_forward.py"


def test_a_robust_folder_is_one_task_with_a_workload_per_setting(tmp_path: Path) -> None:
    loaded = load_task(resolve(str(robust(tmp_path, SETTINGS))), "full")
    shapes = {}
    for workload in loaded.workloads:
        (value,) = workload.inputs(seed=1)
        model, init = workload.construct(seed=1)
        assert isinstance(value, Tensor)
        shapes[workload.name] = (tuple(value.shape), init, workload.run(model, [value])[0][0].shape)
    assert shapes == {
        "w0-batch_size4-features5": ((4, 5), {"features": 5, "eps": 0.0}, (4, 5)),
        "w1-batch_size4-features7": ((4, 7), {"features": 7, "eps": 0.0}, (4, 7)),
        "w2-batch_size8-features5": ((8, 5), {"features": 5, "eps": 0.0}, (8, 5)),
        "w3-batch_size8-features7": ((8, 7), {"features": 7, "eps": 0.0}, (8, 7)),
    }


def test_long_settings_shrink_to_initials_and_stay_apart(tmp_path: Path) -> None:
    program = PROGRAM.replace("eps=0.5", "number_of_output_features_in_all=1, eps=0.5")
    many = [{"number_of_output_features_in_all": 10**n, "eps": 0.125 * n} for n in (2, 3)]
    path = robust(tmp_path, {**SETTINGS, "multi_init_configs": many})
    path.write_text(program, encoding="utf-8")
    names = [workload.name for workload in load_task(resolve(str(path)), "full").workloads]
    assert names[:2] == ["w0-bs4-noofia100-e0.25-f5", "w1-bs4-noofia100-e0.25-f7"]
    assert len(set(names)) == 8


@pytest.mark.parametrize("settings", [[], {"multi_input_configs": 3}])
def test_robust_settings_of_another_form_name_the_file(settings: object, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"config_forward\.json"):
        resolve(str(robust(tmp_path, settings)))


def test_kinds_of_a_task_without_a_small_size_cost_nothing(tmp_path: Path) -> None:
    source = PROGRAM.replace("batch_size=2, features=3", "").replace(
        "[torch.randn(batch_size, features)]",
        "[torch.rand(2**20, 2**20).softmax(-1), torch.randint(0, 9, (2**40,)), torch.rand(size=(2**20, 3))]",
    )
    source = source.replace("self, x, fn=forward_fn", "self, p, index, x")
    path = tmp_path / "huge.py"
    path.write_text(source + "\ndef get_init_inputs(): return [3]\n", encoding="utf-8")
    kinds = load_task(resolve(str(path)), "full").workloads[0].input_kinds
    assert kinds == {"p": "probability", "index": "index", "x": "real"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_values_are_drawn_on_the_device_and_its_generator_is_left_alone() -> None:
    (workload,) = load_task(resolve("kb/L2/17"), "small").workloads
    before = torch.cuda.get_rng_state()
    first, again, other = (workload.inputs(seed, "cuda")[0] for seed in (3, 3, 4))
    model = workload.model(5, "cuda")
    assert isinstance(first, Tensor)
    assert isinstance(again, Tensor)
    assert isinstance(other, Tensor)
    assert first.is_cuda
    assert all(p.is_cuda for p in model.parameters())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.cuda.get_rng_state())


SWEEP = """
import resource, sys, warnings
from pathlib import Path
from kforge.data.tasks.describe import describe
from kforge.data.tasks.loader import load_task
from kforge.data.tasks.registry import read_task
warnings.simplefilter("ignore")  # of the published files
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 6 * 2**30,) * 2)
for path in sorted(Path(sys.argv[1]).glob("*.py")):
    if "einops" in path.read_text() and sys.argv[2] == "no":
        continue
    (spec,) = describe(load_task(read_task(path.stem, path), "full")).workloads
    assert spec.inputs and spec.outputs
    print(path.stem)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("level", "count"), [(1, 100), (2, 100), (3, 50)])
def test_every_published_task_is_described_in_bounded_memory(level: int, count: int) -> None:
    root = os.environ.get("KERNELBENCH_ROOT")
    if root is None:
        pytest.skip("set KERNELBENCH_ROOT to a KernelBench checkout to describe every published task")
    einops = "yes" if importlib.util.find_spec("einops") else "no"
    folder = str(Path(root) / "KernelBench" / f"level{level}")
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, folder, einops], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    without = 2 if level == 3 and einops == "no" else 0  # two Mamba tasks import einops
    assert len(done.stdout.split()) == count - without
