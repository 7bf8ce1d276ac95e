"""Exports on a card, each in a plain process: results, streams, graphs, gradients, fallbacks, threads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kforge.export.verify import verify
from kforge.types import DeviceInfo
from kforge.workers.hardware import choose_device
from tests.export.exporting import CANDIDATES, export_text, in_plain_process

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU"),
]
# Every feature of a plan that CUDA has, by the candidate that shows it.
FEATURES = {
    "layernorm_two_stage": "kb/L1/40",  # scratch memory, dynamic shared memory, parameters
    "layernorm_persistent": "kb/L1/40",  # a cooperative launch
    "instance_norm_tf32": "kb/L2/17",  # a library operator
    "softmax_cluster": "kb/L1/23",
    "softmax_pdl": "kb/L1/23",
    "softmax_waves": "kb/L1/23",
    "softmax_dynamic_shared": "kb/L1/23",
    "relu_struct": "kb/L1/19",
    "relu_pointers": "kb/L1/19",  # an array of pointers, uploaded for every call
    "relu_tma": "kb/L1/19",
    "relu_tma_maps": "kb/L1/19",
    "relu_copy": "kb/L1/19",
    "matmul_split_k": "kb/L1/1",  # a buffer of zeros
    "matmul_counters": "kb/L1/1",  # a memset
}


@pytest.fixture(scope="module")
def device() -> DeviceInfo:
    return choose_device("cuda", "auto")


@pytest.mark.parametrize("name", FEATURES)
def test_an_export_verifies_without_kforge(
    name: str, device: DeviceInfo, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "home"
    text = (CANDIDATES / f"{name}.py").read_text()
    export_text(text, folder, task=FEATURES[name], size="small", device=device, cache_dir=cache)
    found = verify(folder)
    assert set(found.checks.values()) == {"passed"}, found.checks
    (times,) = found.times
    for clock in ("host", "device"):
        for way in ("eager", "kernels"):
            assert times[f"{way}_{clock}_us"]["median"] > 0


MANY = """
from home import ModelNew, get_inputs
model = ModelNew()
found = []
with torch.no_grad():
    for index in range(torch.cuda.device_count()):
        x, = [v.cuda(index) for v in get_inputs()]
        found.append(bool(torch.equal(model(x), x.relu())))
print(json.dumps([found, model.fast_path.counts["kernels"]]))
"""


def test_every_card_of_a_machine_loads_its_own_module(
    device: DeviceInfo, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "home"
    text = (CANDIDATES / "relu_float4.py").read_text()
    export_text(text, folder, task="kb/L1/19", size="small", device=device, cache_dir=cache)
    right, kernels = in_plain_process(MANY, folder)
    assert right == [True] * torch.cuda.device_count()
    assert kernels == torch.cuda.device_count()
