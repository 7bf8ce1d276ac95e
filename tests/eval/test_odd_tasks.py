"""Tasks off the beaten track, each with a right candidate: layouts, types, several workloads, odd state."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kforge.errors import KforgeError
from kforge.eval.candidate import parse_candidate
from kforge.types import CandidateSource, DeviceInfo, Passed, Unstable
from kforge.workers.local import Evaluated, describe_task, evaluate_once

HERE = Path(__file__).parent / "odd"
HEAD = "namespace sx = sycl::ext::oneapi;\n"
KERNEL = 'extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))\n'
ITEM = "sx::this_work_item::get_nd_item<1>().get_global_id(0)"

# A transposed input, a constant argument, integer and float outputs, two workloads.
TWO_OUTPUTS = f"""
void best(const float* x, long* y, float* v, int rows, int n, int s0, int s1, float scale) {{
  int r = {ITEM};
  if (r >= rows) return;
  float best = x[r * s0] * scale; long at = 0;
  for (int i = 1; i < n; ++i) {{
    float z = x[r * s0 + i * s1] * scale;
    if (z > best) {{ best = z; at = i; }}
  }}
  y[r] = at; v[r] = best;
}}
'''
def plan(k, x, scale):
    rows, n = x.shape
    y, v = k.empty((rows,), "int64"), k.empty((rows,))
    k.launch("best", grid=(k.cdiv(rows, 16),), block=(16,),
             args=[x, y, v, rows, n, x.strides[0], x.strides[1], scale])
    return y, v
"""

# Two layers that share a weight, two names for one constant parameter, a buffer that is not persistent.
TIED = f"""
void first(const float* x, const float* w, const float* b, float* y, int c) {{
  int i = {ITEM}, r = i / c, o = i % c; float s = 0;
  for (int k = 0; k < c; ++k) s += x[r * c + k] * w[o * c + k];
  y[i] = sycl::fmax(s + b[o], 0.0f);
}}
{KERNEL}
void second(const float* x, const float* w, const float* b, const float* f, const float* g, const float* h,
            float* y, int c) {{
  int i = {ITEM}, r = i / c, o = i % c; float s = 0;
  for (int k = 0; k < c; ++k) s += x[r * c + k] * w[o * c + k];
  y[i] = (s + b[o]) * f[o] * g[o] + h[o];
}}
'''
def plan(k, x):
    n, c = x.shape
    t, y = k.empty((n, c)), k.empty((n, c))
    k.launch("first", grid=(n,), block=(c,), args=[x, k.param("a.weight"), k.param("a.bias"), t, c])
    tail = [k.param("b.weight"), k.param("b.bias"), k.buffer("freq"), k.param("g"), k.param("h")]
    k.launch("second", grid=(n,), block=(c,), args=[t, *tail, y, c])
    return y
"""


def evaluated(task: str, body: str, device: DeviceInfo, cache: Path) -> Evaluated:
    text = f"LANGUAGE = \"sycl\"\nSOURCE = r'''\n{HEAD}{KERNEL}{body}"
    source = parse_candidate(text)
    assert isinstance(source, CandidateSource), source
    return asyncio.run(
        evaluate_once(
            source, str(HERE / task), "full", device=device, track="pure", cache_dir=cache, user_dir=None
        )
    )


@pytest.mark.sycl
@pytest.mark.parametrize(("task", "body"), [("two_outputs.py", TWO_OUTPUTS), ("tied.py", TIED)])
def test_a_right_candidate_passes(task: str, body: str, device: DeviceInfo, cache: Path) -> None:
    result = evaluated(task, body, device, cache)
    assert isinstance(result.outcome, Passed | Unstable), result.outcome
    if isinstance(result.outcome, Passed) and task == "two_outputs.py":
        assert [w.workload for w in result.outcome.workloads] == ["short", "long"]


@pytest.mark.sycl
def test_one_wrong_index_of_many_is_seen(device: DeviceInfo, cache: Path) -> None:
    wrong = TWO_OUTPUTS.replace("y[r] = at;", "y[r] = r == 63 ? at ^ 1 : at;")
    outcome = evaluated("two_outputs.py", wrong, device, cache).outcome
    assert outcome.status == "check_failed"
    assert "1 of 64 integer values differ" in str(outcome)


def test_an_expanded_input_is_refused_with_the_fix(tmp_path: Path) -> None:
    file = tmp_path / "expanded.py"
    text = (HERE / "two_outputs.py").read_text()
    file.write_text(text.replace("torch.rand(64, n).t().contiguous().t()", "torch.rand(64, 1).expand(64, n)"))
    with pytest.raises(KforgeError, match="expanded view") as caught:
        describe_task(str(file), "full", None)
    assert caught.value.exit_code == 2
    assert ".contiguous()" in caught.value.next_step
