"""What only the whole way shows on a card: ``--sanitize``, and ``--track open`` with a CUDA extension."""

from __future__ import annotations

from pathlib import Path

import pytest

from kforge import evaluate
from kforge.errors import MissingPrerequisite
from kforge.eval.sanitize import TOOLS, sanitizer
from kforge.types import DeviceInfo, Passed, Unstable
from kforge.workers.hardware import choose_open_device
from tests.gpu.opened import CANDIDATES
from tests.gpu.test_module_image import TEXT
from tests.gpu.test_sanitize import WRONG

RELU = """
import torch
from torch import nn
from torch.utils.cpp_extension import load_inline

CUDA = r'''
__global__ void relu_kernel(const float* x, float* y, long n) {
  for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < n; i += (long)gridDim.x * blockDim.x)
    y[i] = fmaxf(x[i], 0.0f);
}
torch::Tensor relu(torch::Tensor x) {
  auto y = torch::empty_like(x);
  relu_kernel<<<1056, 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), x.numel());
  return y;
}
'''
ops = load_inline(
    name="relu_ops", cpp_sources="torch::Tensor relu(torch::Tensor x);", cuda_sources=CUDA, functions=["relu"]
)


class ModelNew(nn.Module):
    def forward(self, x):
        return ops.relu(x)
"""


@pytest.fixture(autouse=True)
def places(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KFORGE_CACHE", str(cache))


def test_auto_takes_the_card(device: DeviceInfo) -> None:
    assert choose_open_device("auto") == device


def test_an_open_candidate_is_built_and_measured_on_the_card(device: DeviceInfo) -> None:
    found = evaluate(RELU, task="kb/L1/19", size="small", track="open", device="gpu")
    assert isinstance(found.outcome, Passed | Unstable), found.outcome
    assert found.device == device
    assert [extension.name for extension in found.extensions] == ["relu_ops"]
    assert found.sandbox is not None
    assert found.sandbox["no_new_privileges"]


def needs_sanitizer() -> None:
    try:
        sanitizer()
    except MissingPrerequisite as missing:
        pytest.skip(str(missing))


def test_a_clean_candidate_has_a_row_per_tool() -> None:
    needs_sanitizer()
    text = (CANDIDATES / "relu_float4.py").read_text()
    found = evaluate(text, task="kb/L1/19", size="small", sanitize=True)
    assert found.passed is not None, found.outcome
    assert found.sanitizer is not None
    assert [said.tool for said in found.sanitizer] == list(TOOLS)
    assert [said.findings for said in found.sanitizer if not said.clean] == []


def test_what_values_do_not_show_is_found_after_the_candidate_passed() -> None:
    needs_sanitizer()
    tool, body, words = WRONG["a read behind its input"]
    found = evaluate(TEXT.format(declared="", body=body), task="kb/L1/19", size="small", sanitize=True)
    assert found.passed is not None, found.outcome
    assert found.sanitizer is not None
    (said,) = [said for said in found.sanitizer if said.tool == tool]
    assert not said.clean
    assert any(words in line for line in said.findings)
