"""Matrix products: own kernels (plain, local tiles, register blocks), or the library with an own tail."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from kforge.search.offline import tail as tails
from kforge.search.offline.device_code import PRELUDE, fill, kernel, packs, work_groups
from kforge.search.offline.genes import Draft, Gene, Genes, Recipe
from kforge.search.offline.tail import GELU, RELU, Tail

NO_TAIL = Tail("nothing", (), ("0.0", "0.0"), "none")
SCALE_LEAKY = Tail(
    "scale, then leaky relu",
    ("v * a", "v < 0.0f ? v * b : v"),
    ('float(k.init("multiplier"))', 'float(k.init("negative_slope"))'),
    "none",
)
SCALE_RESIDUAL = Tail("scaled residual", ("v * a + v",), ('float(k.init("scaling_factor"))', "0.0"), "none")
BIAS_RELU = Tail("bias, then relu", ("v + bias_v", RELU), ("0.0", "0.0"), "column")
DIVIDE_GELU = Tail("division, then gelu", ("v * a", GELU), ('1.0 / k.init("divisor")', "0.0"), "none")


@dataclass(frozen=True, slots=True)
class Product:
    """A product of two matrices and what follows.

    Attributes:
        layer: name of the linear layer whose weight (columns, depth) is the second matrix; None if both
            matrices are inputs, the second one (depth, columns).
        layer_bias: whether the layer has a bias.
        extra_bias: name of a parameter that the tail adds per column.
    """

    layer: str | None
    layer_bias: bool
    tail: Tail
    extra_bias: str | None = None

    @property
    def transposed(self) -> bool:
        """Whether the second matrix is stored as (columns, depth)."""
        return self.layer is not None


OWN_GENES = (
    Gene("engine", ("plain", "local", "blocks", "solo")),
    Gene("wg", (64, 32, 128)),
    Gene("rm", (2, 4, 6, 8)),
    Gene("rn", (2, 1, 4)),
    Gene("vec", (8, 4, 16)),
    Gene("slice", (16, 8, 32)),
)
LIBRARY_GENES = (
    Gene("engine", ("library", "plain", "local", "blocks", "solo")),
    Gene("layer_bias", ("operator", "kernel")),
    *tails.GENES,
    *OWN_GENES[2:4],
    Gene("lanes", (8, 4, 16)),
    OWN_GENES[5],
)
_WORDS = {
    "plain": "one work-item per output element",
    "local": "tiles of both matrices in local memory",
    "blocks": "a tile of the second matrix in local memory, several rows per work-item in registers",
    "solo": "a register block of packs per work-item, no barrier",
}
_PARAMS = (
    "const float* A, const float* B, const float* bias, float* out, int M, int N, int K, float a, float b"
)
_PLACE = """\
const int chunks = (N + WG_SIZE - 1) / WG_SIZE, lid = it.get_local_id(0);
const int m0 = int(it.get_group(0) / chunks) * RM, c = int(it.get_group(0) % chunks) * WG_SIZE + lid;
"""
_PUT = "out[long(m) * N + c] = finish(s, @bias@, a, b);"
_PLAIN = """\
const int m = m0;
if (c >= N) return;
float s0 = 0.0f, s1 = 0.0f;
int k = 0;
for (; k + 2 <= K; k += 2) {
  s0 += A[long(m) * K + k] * B[@b_k@];
  s1 += A[long(m) * K + k + 1] * B[@b_k1@];
}
if (k < K) s0 += A[long(m) * K + k] * B[@b_k@];
const float s = s0 + s1;
@put@
"""
# Every work-item of the group takes part in staging and barriers; guards only touch memory accesses.
_TILED = """\
float acc[RM];
#pragma unroll
for (int r = 0; r < RM; ++r) acc[r] = 0.0f;
for (int k0 = 0; k0 < K; k0 += SLICE) {
  for (int k = 0; k < SLICE; ++k) {
    tile_b[k * WG_SIZE + lid] = c < N && k0 + k < K ? B[@b_stage@] : 0.0f;
  }
@stage_a@  sycl::group_barrier(it.get_group());
  for (int k = 0; k < SLICE; ++k) {
    const float w = tile_b[k * WG_SIZE + lid];
    #pragma unroll
    for (int r = 0; r < RM; ++r) acc[r] += @a_value@ * w;
  }
  sycl::group_barrier(it.get_group());
}
if (c >= N) return;
#pragma unroll
for (int r = 0; r < RM; ++r) {
  const int m = m0 + r;
  const float s = acc[r];
  if (m < M) @put@
}
"""
_STAGE_A = """\
  for (int j = lid; j < RM * SLICE; j += WG_SIZE) {
    const int m = m0 + j / SLICE, k = k0 + j % SLICE;
    tile_a[j] = m < M && k < K ? A[long(m) * K + k] : 0.0f;
  }
"""
_SOLO_ROWS = """\
constexpr int COLS = RN * VEC;
const int chunks = (N + COLS - 1) / COLS;
const int m0 = int(it.get_group(0) / chunks) * RM, c0 = int(it.get_group(0) % chunks) * COLS;
if (m0 + RM <= M && c0 + COLS <= N) {
  pack acc[RM][RN];
  #pragma unroll
  for (int r = 0; r < RM; ++r)
    #pragma unroll
    for (int q = 0; q < RN; ++q) acc[r][q] = 0.0f;
  for (int k = 0; k < K; ++k) {
    #pragma unroll
    for (int q = 0; q < RN; ++q) {
      const pack w = load(B + long(k) * N + c0 + q * VEC);
      #pragma unroll
      for (int r = 0; r < RM; ++r) acc[r][q] += A[long(m0 + r) * K + k] * w;
    }
  }
  #pragma unroll
  for (int r = 0; r < RM; ++r)
    #pragma unroll
    for (int q = 0; q < RN; ++q)
      #pragma unroll
      for (int u = 0; u < VEC; ++u) {
        const int m = m0 + r, c = c0 + q * VEC + u;
        const float s = acc[r][q][u];
        @put@
      }
  return;
}
"""
_SOLO_DOTS = """\
constexpr int COLS = RN;
const int chunks = (N + COLS - 1) / COLS;
const int m0 = int(it.get_group(0) / chunks) * RM, c0 = int(it.get_group(0) % chunks) * COLS;
if (m0 + RM <= M && c0 + COLS <= N) {
  pack acc[RM][RN];
  #pragma unroll
  for (int r = 0; r < RM; ++r)
    #pragma unroll
    for (int q = 0; q < RN; ++q) acc[r][q] = 0.0f;
  int k = 0;
  for (; k + VEC <= K; k += VEC) {
    #pragma unroll
    for (int q = 0; q < RN; ++q) {
      const pack w = load(B + long(c0 + q) * K + k);
      #pragma unroll
      for (int r = 0; r < RM; ++r) acc[r][q] += load(A + long(m0 + r) * K + k) * w;
    }
  }
  for (int r = 0; r < RM; ++r)
    for (int q = 0; q < RN; ++q) {
      const int m = m0 + r, c = c0 + q;
      float s = sum_pack(acc[r][q]);
      for (int j = k; j < K; ++j) s += A[long(m) * K + j] * B[long(c) * K + j];
      @put@
    }
  return;
}
"""
_SOLO_EDGE = """\
for (int m = m0; m < m0 + RM && m < M; ++m)
  for (int c = c0; c < c0 + COLS && c < N; ++c) {
    float s = 0.0f;
    for (int k = 0; k < K; ++k) s += A[long(m) * K + k] * B[@b_k@];
    @put@
  }
"""


def _own_source(product: Product, tail: Tail, genes: Genes, vec: int) -> tuple[str, str]:
    """Device code, and the kernel's extra local arguments in the plan."""
    engine = str(genes["engine"])
    rm = 1 if engine == "plain" else int(genes["rm"])
    put = fill(_PUT, bias="bias[c]" if tail.bias == "column" else "0.0f")
    turned = product.transposed
    b_k = "long(c) * K + k" if turned else "long(k) * N + c"
    b_k1 = "long(c) * K + k + 1" if turned else "long(k + 1) * N + c"
    b_stage = "long(c) * K + k0 + k" if turned else "long(k0 + k) * N + c"
    constants = f"constexpr int RM = {rm}, RN = {genes['rn']}, SLICE = {genes['slice']};\n"
    head = PRELUDE + packs(vec) + constants + tails.finish(tail)
    if engine == "plain":
        body = _PLACE + fill(_PLAIN, b_k=b_k, b_k1=b_k1, put=put)
        return head + kernel("product", _PARAMS, body), ""
    if engine == "solo":
        body = (_SOLO_DOTS if turned else _SOLO_ROWS) + _SOLO_EDGE
        return head + kernel("product", _PARAMS, fill(body, put=put, b_k=b_k)), ""
    both = engine == "local"
    value = (
        "tile_a[r * SLICE + k]"
        if both
        else "(m0 + r < M && k0 + k < K ? A[long(m0 + r) * K + k0 + k] : 0.0f)"
    )
    body = _PLACE + fill(_TILED, stage_a=_STAGE_A if both else "", a_value=value, b_stage=b_stage, put=put)
    params = _PARAMS + ", sycl::local_accessor<float, 1> tile_b"
    local = f', k.local("float32", k.tune.WG_SIZE * {genes["slice"]})'
    if both:
        params += ", sycl::local_accessor<float, 1> tile_a"
        local += f', k.local("float32", {rm * int(genes["slice"])})'
    return head + kernel("product", params, body), local


_OWN_PLAN = """\
def plan(k, {inputs}):
{matrices}
    rows = A.shape[0]
    depth = A.shape[1]
    y = k.empty((rows, n), "float32")
    k.launch("product", grid=({grid},), block=({block},),
             args=[A, B, {bias}, y, rows, n, depth, {scalars}{local}])
    return y
"""
_LIBRARY_PLAN = """\
def plan(k, A):
    x = k.op("linear", A, {operands})
    rows = x.shape[0]
    n = x.shape[1]
{launches}
    return y
"""


def _own(product: Product, genes: Genes, vec: int) -> Draft:
    tail = product.tail.with_column_bias() if product.layer_bias else product.tail
    code, local = _own_source(product, tail, genes, vec)
    engine = str(genes["engine"])
    rm, cols = int(genes["rm"]), int(genes["rn"]) * (1 if product.transposed else vec)
    grid = f"k.cdiv(rows, {1 if engine == 'plain' else rm}) * k.cdiv(n, k.tune.WG_SIZE)"
    if engine == "solo":
        grid = f"k.cdiv(rows, {rm}) * k.cdiv(n, {cols})"
    bias = "A"
    if tail.bias == "column":
        bias = (
            f'k.param("{product.layer}.bias")' if product.layer_bias else f'k.param("{product.extra_bias}")'
        )
    layer = f'    B = k.param("{product.layer}.weight")\n    n = B.shape[0]'
    plan = _OWN_PLAN.format(
        inputs="A" if product.transposed else "A, B",
        matrices=layer if product.transposed else "    n = B.shape[1]",
        grid=grid,
        block="1" if engine == "solo" else "k.tune.WG_SIZE",
        bias=bias,
        scalars=", ".join(tail.scalars),
        local=local,
    )
    idea = f"own product, {_WORDS[engine]} (rows {rm}, slice {genes['slice']}); then {product.tail.name}."
    return Draft(
        {"WG_SIZE": (int(genes["wg"]),)} if engine == "solo" else work_groups(int(genes["wg"])),
        code,
        plan,
        idea,
    )


def _with_library(product: Product, genes: Genes) -> Draft:
    late = product.layer_bias and genes["layer_bias"] == "kernel"
    tail = product.tail.with_column_bias() if late else product.tail
    weight, own_bias = f'k.param("{product.layer}.weight")', f'k.param("{product.layer}.bias")'
    operands = weight if late or not product.layer_bias else f"{weight}, {own_bias}"
    bias = own_bias if late else f'k.param("{product.extra_bias}")'
    plan = _LIBRARY_PLAN.format(operands=operands, launches=tails.launches(tail, genes, bias, "1"))
    idea = f"library product, then {tail.name}: {tails.WORDS[str(genes['tail'])]}; output {genes['output']}."
    return Draft(work_groups(int(genes["wg"])), tails.source(tail, genes), plan, idea)


def _write(product: Product, genes: Genes) -> Draft:
    if genes["engine"] == "library":
        return _with_library(product, genes)
    return _own(product, genes, int(genes["lanes" if product.transposed else "vec"]))


def _settle(kind: Literal["own", "layer"], genes: Genes) -> Genes:
    settled = dict(genes)
    engine = settled["engine"]
    if engine == "library":
        return {**tails.settle(settled), "rm": 2, "rn": 2, "lanes": 8, "slice": 16}
    if kind == "layer":
        settled.update({"tail": "rows", "vec": 1, "output": "fresh", "layer_bias": "operator"})
    if engine == "solo":
        return {**settled, "wg": 64, "slice": 16}
    settled.update({"rn": 2, "lanes" if kind == "layer" else "vec": 8})
    return {**settled, "rm": 2, "slice": 16} if engine == "plain" else settled


def recipe(task_id: str, product: Product) -> Recipe:
    """The recipe of a matrix product with or without a tail."""
    if not product.transposed:
        fast = (("engine", "solo"), ("rm", 4), ("rn", 2), ("vec", 16))
        return Recipe(task_id, "matmul", OWN_GENES, partial(_write, product), partial(_settle, "own"), fast)
    tail_fast = (("engine", "library"), ("tail", "solo"), ("vec", 16), ("output", "in_place"))
    settle = partial(_settle, "layer")
    return Recipe(task_id, "gemm_tail", LIBRARY_GENES, partial(_write, product), settle, tail_fast)
