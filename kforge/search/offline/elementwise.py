"""One input, one output, the same function everywhere: relu, sigmoid and the GELUs."""

from __future__ import annotations

from functools import partial

from kforge.search.offline.device_code import FUNCTIONS, PRELUDE, fill, kernel, packs, work_groups
from kforge.search.offline.genes import Draft, Gene, Genes, Recipe

GENES = (
    Gene("schedule", ("direct", "staged", "two_kernels", "chunk")),
    Gene("wg", (64, 32, 128, 256)),
    Gene("items", (4, 1, 8, 16)),
    Gene("vec", (1, 4, 8, 16)),
)
_WORDS = {
    "direct": "each work-item maps its elements straight from input to output",
    "staged": "a work-group stages a tile in local memory before it maps it",
    "two_kernels": "two kernels with an intermediate buffer, the plain way to start",
    "chunk": "a work-group of one work-item maps a long contiguous chunk",
}
# Split of each function for the schedule with two kernels: the first from x, the second from x and t.
_HALVES = {
    "relu": ("x < 0.0f ? 1.0f : 0.0f", "t != 0.0f ? 0.0f : x"),
    "sigmoid": ("sycl::exp(-x)", "1.0f / (1.0f + t)"),
    "gelu": ("sycl::erf(x * 0.70710678118654752f)", "0.5f * x * (1.0f + t)"),
    "new_gelu": (
        "sycl::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x))",
        "0.5f * x * (1.0f + t)",
    ),
}

_DIRECT = """\
const long first = (it.get_group(0) * long(WG_SIZE) * ITEMS + it.get_local_id(0)) * VEC;
#pragma unroll
for (int j = 0; j < ITEMS; ++j) {
  long i = first + long(j) * WG_SIZE * VEC;
  if (i + VEC <= n) store(y + i, act_pack(load(x + i)));
  else for (; i < n; ++i) y[i] = act(x[i]);
}
"""
_STAGED = """\
constexpr int TILE = WG_SIZE * ITEMS;
const long base = it.get_group(0) * long(TILE);
const int lid = it.get_local_id(0);
for (int j = lid; j < TILE; j += WG_SIZE) tile[j] = base + j < n ? x[base + j] : 0.0f;
sycl::group_barrier(it.get_group());
for (int j = lid; j < TILE; j += WG_SIZE) {
  if (base + j < n) y[base + j] = act(tile[j]);
}
"""
_CHUNK = """\
constexpr long CHUNK = 1024L * ITEMS;
const long begin = it.get_group(0) * CHUNK, end = begin + CHUNK < n ? begin + CHUNK : n;
long i = begin;
for (; i + VEC <= end; i += VEC) store(y + i, act_pack(load(x + i)));
for (; i < end; ++i) y[i] = act(x[i]);
"""
_HALF = """\
const long first = it.get_group(0) * long(WG_SIZE) * ITEMS + it.get_local_id(0);
#pragma unroll
for (int j = 0; j < ITEMS; ++j) {
  const long i = first + long(j) * WG_SIZE;
  if (i < n) @statement@
}
"""
_PLAN = """\
def plan(k, x):
    n = x.numel()
    y = k.empty_like(x)
    k.launch("apply", grid=(@grid@,), block=(@block@,), args=[x, y, n@local@])
    return y
"""
_PLAN_TWO = """\
def plan(k, x):
    n = x.numel()
    t = k.empty_like(x)
    y = k.empty_like(x)
    grid = (k.cdiv(n, k.tune.WG_SIZE * @items@),)
    k.launch("first_half", grid=grid, block=(k.tune.WG_SIZE,), args=[x, t, n])
    k.launch("second_half", grid=grid, block=(k.tune.WG_SIZE,), args=[x, t, y, n])
    return y
"""


def act(function: str) -> str:
    """Device functions ``act`` on a float and ``act_pack`` on a pack (declared before)."""
    per_lane = "#pragma unroll\n  for (int u = 0; u < VEC; ++u) o[u] = act(p[u]);"
    return (
        f"static inline float act(float x) {{ return {FUNCTIONS[function]}; }}\n"
        "template <typename P> static inline P act_pack(P p) {\n"
        "  if constexpr (VEC == 1) return act(p);\n"
        f"  else {{\n  P o;\n  {per_lane}\n  return o;\n  }}\n}}\n"
    )


def _write(function: str, genes: Genes) -> Draft:
    schedule, items, vec = str(genes["schedule"]), int(genes["items"]), int(genes["vec"])
    head = PRELUDE + f"constexpr int ITEMS = {items};\n" + packs(vec) + act(function)
    idea = f"{function}: {_WORDS[schedule]}; {items} items per work-item, {vec} floats per load."
    tune = {} if schedule == "chunk" else work_groups(int(genes["wg"]))
    if schedule == "two_kernels":
        one, two = _HALVES[function]
        first = fill(_HALF, statement=f"{{ const float x = in[i]; t[i] = {one}; }}")
        second = fill(_HALF, statement=f"{{ const float x = in[i], t = tmp[i]; y[i] = {two}; }}")
        source = PRELUDE + f"constexpr int ITEMS = {items};\n"
        source += kernel("first_half", "const float* in, float* t, long n", first)
        source += kernel("second_half", "const float* in, const float* tmp, float* y, long n", second)
        return Draft(tune, source, fill(_PLAN_TWO, items=items), idea)
    body = {"direct": _DIRECT, "staged": _STAGED, "chunk": _CHUNK}[schedule]
    staged = schedule == "staged"
    params = "const float* x, float* y, long n" + (", sycl::local_accessor<float, 1> tile" if staged else "")
    grid = (
        f"k.cdiv(n, {1024 * items})" if schedule == "chunk" else f"k.cdiv(n, k.tune.WG_SIZE * {items * vec})"
    )
    local = f', k.local("float32", k.tune.WG_SIZE * {items})' if staged else ""
    block = "1" if schedule == "chunk" else "k.tune.WG_SIZE"
    plan = fill(_PLAN, grid=grid, block=block, local=local)
    return Draft(tune, head + kernel("apply", params, body), plan, idea)


def _settle(genes: Genes) -> Genes:
    if genes["schedule"] in ("staged", "two_kernels"):
        return {**genes, "vec": 1}
    return {**genes, "wg": 64} if genes["schedule"] == "chunk" else genes


def recipe(task_id: str, function: str) -> Recipe:
    """The recipe of an element-wise task; ``function`` is a key of ``FUNCTIONS``."""
    return Recipe(task_id, "elementwise", GENES, partial(_write, function), _settle)
