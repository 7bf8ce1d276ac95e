"""The answers that the tiny model learns: a few thoughts, and a whole candidate file for kb/L1/19 (ReLU).

Every answer is a correct candidate. Form of the loop, vector width, block sizes and grid vary, so that an
archive gets more than one cell. This module needs nothing but Python.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

FORMS = ("stride", "vector", "tile", "passes")
BLOCKS = ((32, 64), (64, 256), (128, 32), (256, 128))
GRIDS = (16, 64, 256)
WIDTHS = ((4, 8), (8, 16), (16, 4))

_SYCL_HEAD = """\
#include <sycl/sycl.hpp>
namespace sx = sycl::ext::oneapi;

"""
_SYCL_KERNEL = """\
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))
void @name@(@params@) {
  auto it = sx::this_work_item::get_nd_item<1>();
@body@}
"""
_CUDA_KERNEL = """\
extern "C" __global__ void @name@(@params@) {
@body@}
"""
_BODIES = {
    ("sycl", "stride"): """\
  for (long i = it.get_global_id(0); i < n; i += it.get_global_range(0)) y[i] = x[i] < 0.0f ? 0.0f : x[i];
""",
    ("sycl", "vector"): """\
  const sycl::vec<float, WIDTH> zero(0.0f);
  for (long v = it.get_global_id(0); v < n; v += it.get_global_range(0)) y[v] = sycl::max(x[v], zero);
""",
    ("sycl", "tile"): """\
  const long at = it.get_global_id(0);
  const int lane = it.get_local_id(0);
  tile[lane] = at < n ? x[at] : 0.0f;
  sycl::group_barrier(it.get_group());
  if (at < n) y[at] = tile[lane] < 0.0f ? 0.0f : tile[lane];
""",
    ("sycl", "sign"): """\
  for (long p = it.get_global_id(0); p < n; p += it.get_global_range(0)) s[p] = x[p] < 0.0f ? 0.0f : 1.0f;
""",
    ("sycl", "select"): """\
  for (long q = it.get_global_id(0); q < n; q += it.get_global_range(0)) y[q] = s[q] == 0.0f ? 0.0f : x[q];
""",
    ("cuda", "stride"): """\
  for (long i = blockIdx.x * BLOCK + threadIdx.x; i < n; i += gridDim.x * BLOCK)
    y[i] = x[i] < 0.0f ? 0.0f : x[i];
""",
    ("cuda", "vector"): """\
  for (long v = blockIdx.x * BLOCK + threadIdx.x; v < n; v += gridDim.x * BLOCK) {
    float4 f = x[v];
    f.x = f.x < 0.0f ? 0.0f : f.x;
    f.y = f.y < 0.0f ? 0.0f : f.y;
    f.z = f.z < 0.0f ? 0.0f : f.z;
    f.w = f.w < 0.0f ? 0.0f : f.w;
    y[v] = f;
  }
""",
    ("cuda", "tile"): """\
  __shared__ float tile[BLOCK];
  const long at = (long)blockIdx.x * BLOCK + threadIdx.x;
  tile[threadIdx.x] = at < n ? x[at] : 0.0f;
  __syncthreads();
  if (at < n) y[at] = tile[threadIdx.x] < 0.0f ? 0.0f : tile[threadIdx.x];
""",
    ("cuda", "sign"): """\
  for (long p = blockIdx.x * BLOCK + threadIdx.x; p < n; p += gridDim.x * BLOCK)
    s[p] = x[p] < 0.0f ? 0.0f : 1.0f;
""",
    ("cuda", "select"): """\
  for (long q = blockIdx.x * BLOCK + threadIdx.x; q < n; q += gridDim.x * BLOCK)
    y[q] = s[q] == 0.0f ? 0.0f : x[q];
""",
}
_THOUGHTS = {
    "stride": "Every work-item walks over the whole grid.",
    "vector": "Wide loads, several floats each.",
    "tile": "Stage a tile in local memory, one element for each work-item.",
    "passes": "Two plain passes first: signs, then a select.",
}
_OPENINGS = (
    "ReLU is bound by memory.",
    "There is nothing to compute here.",
    "Each element crosses memory once.",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What one answer does; the first block and width are the ones that kforge tries first."""

    form: str
    blocks: tuple[int, int]
    grid: int
    widths: tuple[int, int]


def choose(rng: random.Random) -> Choice:
    """One of the answers, at random."""
    return Choice(rng.choice(FORMS), rng.choice(BLOCKS), rng.choice(GRIDS), rng.choice(WIDTHS))


def candidate(choice: Choice, language: str) -> str:
    """The candidate file of a choice; ``language`` is sycl or cuda."""
    tune = f'"BLOCK": {list(choice.blocks)}'
    if choice.form == "vector" and language == "sycl":
        tune += f', "WIDTH": {list(choice.widths)}'
    head = _SYCL_HEAD if language == "sycl" else ""
    return (
        f'LANGUAGE = "{language}"\nTUNE = {{{tune}}}\n'
        f"SOURCE = r'''\n{head}{_device_code(choice, language)}'''\n\n\n{_plan(choice, language)}"
    )


def answer(choice: Choice, language: str, opening: str = _OPENINGS[0]) -> str:
    """A whole reply: thoughts, and the candidate file in a fence."""
    thoughts = f"{opening} {_THOUGHTS[choice.form]}"
    return f"<think>{thoughts}</think>\n```python\n{candidate(choice, language)}```"


def random_answer(rng: random.Random, language: str) -> str:
    """A whole reply, at random."""
    return answer(choose(rng), language, rng.choice(_OPENINGS))


def _device_code(choice: Choice, language: str) -> str:
    vector = "sycl::vec<float, WIDTH>" if language == "sycl" else "float4"
    tile = ", sycl::local_accessor<float, 1> tile" if language == "sycl" else ""
    if choice.form == "passes":
        first = _kernel(language, "sign", "const float* x, float* s, long n")
        return first + "\n" + _kernel(language, "select", "const float* x, const float* s, float* y, long n")
    params = {
        "stride": "const float* x, float* y, long n",
        "vector": f"const {vector}* x, {vector}* y, long n",
        "tile": f"const float* x, float* y, long n{tile}",
    }[choice.form]
    return _kernel(language, choice.form, params)


def _kernel(language: str, part: str, params: str) -> str:
    frame = _SYCL_KERNEL if language == "sycl" else _CUDA_KERNEL
    return _fill(frame, name=f"relu_{part}", params=params, body=_BODIES[language, part])


def _plan(choice: Choice, language: str) -> str:
    if choice.form == "passes":
        launches = (
            "    s = k.empty_like(x)\n"
            + _launch("sign", f"({choice.grid},)", "x, s, x.numel()")
            + _launch("select", f"({choice.grid},)", "x, s, y, x.numel()")
        )
    elif choice.form == "tile":
        local = ', k.local("float32", k.tune.BLOCK)' if language == "sycl" else ""
        launches = _launch("tile", "(k.cdiv(x.numel(), k.tune.BLOCK),)", "x, y, x.numel()" + local)
    else:
        width = "k.tune.WIDTH" if language == "sycl" else "4"
        count = "x.numel()" if choice.form == "stride" else f"x.numel() // {width}"
        launches = _launch(choice.form, f"({choice.grid},)", f"x, y, {count}")
    return f"def plan(k, x):\n    y = k.empty_like(x)\n{launches}    return y\n"


def _launch(part: str, grid: str, arguments: str) -> str:
    return f'    k.launch("relu_{part}", grid={grid}, block=(k.tune.BLOCK,), args=[{arguments}])\n'


def _fill(text: str, **values: str) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
