"""A module's own objects: written by a kernel they are found; honest modules with tables are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kforge.types import CheckFailed, DeviceInfo, Passed
from tests.gpu.opened import candidate
from tests.gpu.weakened import CudaReferee

TEXT = '''LANGUAGE = "cuda"
SOURCE = r"""
{declared}
extern "C" __global__ void __launch_bounds__(256) f(const float* __restrict__ x, float* y, long long n) {{
  long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= n) return;
  float v = x[i];
  y[i] = v < 0.0f ? 0.0f : v;
  {body}
}}
"""


def plan(k, x):
    y = k.empty_like(x)
    k.launch("f", (k.cdiv(x.numel(), 256),), (256,), [x, y, x.numel()])
    return y
'''
LAUNDERED = (
    'if (i == 0) { float* p; asm volatile("mov.u64 %0, %1;" : "=l"(p) : "l"((const void*)table)); p[3] = v; }'
)
WRITES = {
    "a constant table": "__constant__ float table[64] = {1.0f, 2.0f};",
    "a constexpr table": "constexpr float table[64] = {1.0f, 2.0f};",
}
HONEST = {
    "a constant table": ("__constant__ float table[64] = {1.0f, 2.0f};", "y[i] *= table[i % 1];"),
    "a constexpr table": ("constexpr float table[4] = {1.0f, 1.0f, 1.0f, 1.0f};", "y[i] *= table[i % 4];"),
    "a table of functions": (
        "__device__ float same(float a) { return a; } typedef float (*F)(float);"
        " __constant__ F table[2] = {same, same};",
        "y[i] = table[i % 2](y[i]);",
    ),
    "cooperative groups": (
        "#include <cooperative_groups.h>\nnamespace cg = cooperative_groups;",
        "cg::this_thread_block().sync();",
    ),
}


@pytest.fixture(scope="module")
def referee(device: DeviceInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CudaReferee]:
    cache: Path = tmp_path_factory.mktemp("cache")
    made = CudaReferee("kb/L1/19", "small", device, cache)
    yield made
    made.close()


@pytest.mark.parametrize("name", WRITES)
def test_a_table_written_by_a_kernel_is_found(referee: CudaReferee, name: str) -> None:
    wrong = candidate(TEXT.format(declared=WRITES[name], body=LAUNDERED))
    found = referee.outcome(wrong)
    assert isinstance(found, CheckFailed), found
    assert found.kind == "module_changed", found
    assert "table" in found.reason
    without = referee.outcome(wrong, off=["module_image"])
    assert isinstance(without, Passed), "nothing else finds it, so this defence is what does"


@pytest.mark.parametrize("name", HONEST)
def test_honest_modules_are_left_alone(referee: CudaReferee, name: str) -> None:
    declared, body = HONEST[name]
    found = referee.outcome(candidate(TEXT.format(declared=declared, body=body)))
    assert isinstance(found, Passed), found
