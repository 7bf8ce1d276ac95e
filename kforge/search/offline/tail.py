"""Matrix or convolution results with a point-wise tail: scales, biases and activations on a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent
from typing import Literal

from kforge.search.offline.device_code import FUNCTIONS, PRELUDE, fill, kernel, packs
from kforge.search.offline.genes import Gene, Genes


@dataclass(frozen=True, slots=True)
class Tail:
    """Point-wise steps on ``v``, an element of a matrix of rows and columns.

    Attributes:
        steps: C++ expressions in ``v``, the scalars ``a`` and ``b``, and ``bias_v``.
        scalars: Python expressions in the plan for ``a`` and ``b``.
        bias: where ``bias_v`` comes from: one value per column, per row, or none.
    """

    name: str
    steps: tuple[str, ...]
    scalars: tuple[str, str]
    bias: Literal["column", "row", "none"]

    def with_column_bias(self) -> Tail:
        """The same tail that first adds the bias of a linear layer."""
        return Tail(self.name, ("v + bias_v", *self.steps), self.scalars, "column")


GELU = FUNCTIONS["gelu"].replace("x", "v")
RELU = "v < 0.0f ? 0.0f : v"

GENES = (
    Gene("tail", ("rows", "blocks", "solo", "staged", "separate")),
    Gene("wg", (64, 16, 32, 128, 256)),
    Gene("vec", (1, 4, 8, 16)),
    Gene("output", ("fresh", "in_place")),
)
WORDS = {
    "rows": "one work-group per row walks it with neighbouring work-items on neighbouring columns",
    "blocks": "the matrix is cut into blocks of columns, several per work-item",
    "solo": "a work-group of one work-item per row",
    "staged": "rows are staged through local memory",
    "separate": "one kernel per point-wise step, the plain way to start",
}

_STRIDED = """\
const long row = it.get_group(0);
const int lane = it.get_local_id(0);
constexpr int lanes = @lanes@;
const float* x = in + row * n;
float* y = out + row * n;
@row_bias@
for (int i = lane * VEC; i + VEC <= n; i += lanes * VEC) {
  const pack v = load(x + i)@pack_bias@;
  pack o;
  @each_lane@
  store(y + i, o);
}
for (int i = n - n % VEC + lane; i < n; i += lanes) y[i] = finish(x[i], @bias_i@, a, b);
"""
_BLOCKS = """\
constexpr int ITEMS = 4;
const int chunks = (n + WG_SIZE * VEC * ITEMS - 1) / (WG_SIZE * VEC * ITEMS);
const long row = it.get_group(0) / chunks;
const int first = (int(it.get_group(0) % chunks) * WG_SIZE * ITEMS + int(it.get_local_id(0))) * VEC;
const float* x = in + row * n;
float* y = out + row * n;
@row_bias@
#pragma unroll
for (int j = 0; j < ITEMS; ++j) {
  int i = first + j * WG_SIZE * VEC;
  if (i + VEC <= n) {
    const pack v = load(x + i)@pack_bias@;
    pack o;
    @each_lane@
    store(y + i, o);
  } else for (; i < n; ++i) y[i] = finish(x[i], @bias_i@, a, b);
}
"""
_STAGED = """\
constexpr int TILE = 2048;
const long row = it.get_group(0);
const int lid = it.get_local_id(0);
@row_bias@
for (int begin = 0; begin < n; begin += TILE) {
  const int count = n - begin < TILE ? n - begin : TILE;
  const float* x = in + row * n + begin;
  float* y = out + row * n + begin;
  sycl::group_barrier(it.get_group());
  for (int j = lid; j < count; j += WG_SIZE) tile[j] = x[j];
  sycl::group_barrier(it.get_group());
  for (int j = lid; j < count; j += WG_SIZE) {
    const int i = begin + j;
    y[j] = finish(tile[j], @bias_i@, a, b);
  }
}
"""
_PARAMS = "const float* in, const float* bias, float* out, int n, int period, float a, float b"


def finish(tail: Tail, name: str = "finish") -> str:
    """The device function that applies all steps to one element."""
    lines = "".join(f"  v = {step};\n" for step in tail.steps)
    return f"static inline float {name}(float v, float bias_v, float a, float b) {{\n{lines}  return v;\n}}\n"


def _frame(text: str, tail: Tail, lanes: str) -> str:
    one_lane = "#pragma unroll\n  for (int u = 0; u < VEC; ++u) o[u] = finish(v[u], @lane_bias@, a, b);"
    column = tail.bias == "column"
    lane_bias = {"column": "w[u]", "row": "row_bias", "none": "0.0f"}[tail.bias]
    return fill(
        text,
        lanes=lanes,
        row_bias="const float row_bias = bias[row % period];" if tail.bias == "row" else "",
        pack_bias=", w = load(bias + i)" if column else "",
        each_lane=fill(one_lane, lane_bias=lane_bias),
        bias_i={"column": "bias[i]", "row": "row_bias", "none": "0.0f"}[tail.bias],
    )


def _scalar_lanes(text: str) -> str:
    # With one float per load, a pack is a float and has no lanes to index.
    text = text.replace("#pragma unroll\n  for (int u = 0; u < VEC; ++u) o[u] = finish(v[u]", "o = finish(v")
    return text.replace("w[u]", "w")


def source(tail: Tail, genes: Genes) -> str:
    """Device code of the tail: one kernel ``tail``, or ``step_0``, ``step_1``, … when separate."""
    schedule, vec = str(genes["tail"]), int(genes["vec"])
    head = PRELUDE + packs(vec)
    if schedule == "separate":
        return head + "".join(_step(tail, number) for number in range(len(tail.steps)))
    text = {"blocks": _BLOCKS, "staged": _STAGED}.get(schedule, _STRIDED)
    body = _frame(text, tail, "1" if schedule == "solo" else "WG_SIZE")
    if vec == 1:
        body = _scalar_lanes(body)
    params = _PARAMS + (", sycl::local_accessor<float, 1> tile" if schedule == "staged" else "")
    return head + finish(tail) + kernel("tail", params, body)


def _step(tail: Tail, number: int) -> str:
    bias = tail.bias if "bias_v" in tail.steps[number] else "none"
    one = Tail(tail.name, (tail.steps[number],), tail.scalars, bias)
    body = _scalar_lanes(_frame(_STRIDED, one, "WG_SIZE")).replace("finish(", f"finish_{number}(")
    return finish(one, f"finish_{number}") + kernel(f"step_{number}", _PARAMS, body)


def launches(tail: Tail, genes: Genes, bias: str, period: str) -> str:
    """Plan statements that apply the tail to ``x`` (``rows`` of ``n``) and leave the result in ``y``.

    Args:
        tail: the steps.
        genes: choices of this tail.
        bias: Python expression of the bias tensor; ignored when the tail has none.
        period: Python expression of how many rows share one round of row biases.
    """
    schedule, vec = str(genes["tail"]), int(genes["vec"])
    grid = "rows" if schedule != "blocks" else f"rows * k.cdiv(n, k.tune.WG_SIZE * {4 * vec})"
    block = "1" if schedule == "solo" else "k.tune.WG_SIZE"
    local = ', k.local("float32", 2048)' if schedule == "staged" else ""
    scalars = ", ".join(tail.scalars)
    fresh = "x" if genes["output"] == "in_place" else "k.empty_like(x)"
    lines = [f"y = {fresh}", f"bias = {bias if tail.bias != 'none' else 'x'}"]
    names = ["tail"] if schedule != "separate" else [f"step_{number}" for number in range(len(tail.steps))]
    for number, name in enumerate(names):
        read = "x" if number == 0 else "y"
        lines.append(f'k.launch("{name}", grid=({grid},), block=({block},),')
        lines.append(f"         args=[{read}, bias, y, n, {period}, {scalars}{local}])")
    return indent("\n".join(lines), "    ")


def settle(genes: Genes) -> Genes:
    """Packs serve only the schedules that load them; a lone work-item has no work-group size."""
    if genes["tail"] in ("staged", "separate"):
        return {**genes, "vec": 1}
    return {**genes, "wg": 64} if genes["tail"] == "solo" else genes
