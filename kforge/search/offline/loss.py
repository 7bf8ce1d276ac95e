"""Losses: one number out of two large tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from kforge.search.offline.device_code import PRELUDE, RowMapping, fill, kernel, packs, work_groups
from kforge.search.offline.genes import Draft, Gene, Genes, Recipe


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum over pairs of elements.

    Attributes:
        term: C++ expression of one element from ``a`` and ``b``.
        packed: the same on packs, or None if it must be done lane by lane.
        divisor: Python expression in the plan of what the sum is divided by.
    """

    name: str
    term: str
    packed: str | None
    divisor: str


MSE = Loss("mean squared error", "(a - b) * (a - b)", "(a - b) * (a - b)", "a.numel()")
# t * log t is 0 at t = 0, as in PyTorch.
KL_DIV = Loss(
    "KL divergence",
    "(b == 0.0f ? 0.0f : b * sycl::log(b)) - b * sycl::log(a)",
    None,
    "a.shape[0]",
)
GENES = (
    Gene("finish", ("two_stage", "atomic")),
    Gene("combine", ("group", "tree", "hierarchical", "solo")),
    Gene("groups", (256, 64, 1024)),
    Gene("wg", (64, 16, 32, 128, 256)),
    Gene("vec", (1, 4, 8, 16)),
    Gene("reading", ("direct", "staged")),
)
# Each group owns a contiguous part; partial sums are folded every BLOCK steps to keep rounding small.
_BODY = """\
const long from = n * long(it.get_group(0)) / groups, to = n * long(it.get_group(0) + 1) / groups;
float sum = 0.0f;
for (long begin = from; begin < to; begin += BLOCK) {
  const int count = int(to - begin < BLOCK ? to - begin : BLOCK);
  const float *pa = left + begin, *pb = right + begin;
@staging@  pack acc = 0.0f; float rest = 0.0f;
  for (int i = lane * VEC; i + VEC <= count; i += lanes * VEC) acc += term_pack(load(pa + i), load(pb + i));
  for (int i = count - count % VEC + lane; i < count; i += lanes) rest += term(pa[i], pb[i]);
  sum += sum_pack(acc) + rest;
}
sum = total(it, shared, sum);
if (lane == 0) @finish@
"""
_STAGING = """\
  sycl::group_barrier(it.get_group());
  for (int i = lane; i < count; i += lanes) { tile[i] = pa[i]; tile[BLOCK + i] = pb[i]; }
  sycl::group_barrier(it.get_group());
  pa = &tile[0]; pb = &tile[BLOCK];
"""
_ATOMIC = """{
  sycl::atomic_ref<float, sycl::memory_order::relaxed, sycl::memory_scope::device,
                   sycl::access::address_space::global_space> cell(out[0]);
  cell.fetch_add(sum * scale);
}"""
_FINISH = """\
const int lid = it.get_local_id(0);
float sum = 0.0f;
for (int i = lid; i < groups; i += WG_SIZE) sum += parts[i];
sum = sycl::reduce_over_group(it.get_group(), sum, sycl::plus<float>());
if (lid == 0) out[0] = sum * scale;
"""
_TERMS = """\
static inline float term(float a, float b) { return @term@; }
template <typename P> static inline P term_pack(P a, P b) {
  if constexpr (VEC == 1) return term(a, b);
  else {
    P o;
    #pragma unroll
    for (int u = 0; u < VEC; ++u) o[u] = term(a[u], b[u]);
    return o;
  }
}
"""
_PACKED_TERMS = """\
static inline float term(float a, float b) { return @term@; }
static inline pack term_pack(pack a, pack b) { return @packed@; }
"""
_PLAN = """\
def plan(k, a, b):
    n = a.numel()
    scale = 1.0 / @divisor@
    groups = @groups@
    @launches@
    return y
"""


def _write(loss: Loss, genes: Genes) -> Draft:
    mapping, staged = RowMapping(str(genes["combine"])), genes["reading"] == "staged"
    atomic = genes["finish"] == "atomic"
    terms = _TERMS if loss.packed is None else _PACKED_TERMS
    head = PRELUDE + packs(int(genes["vec"])) + f"constexpr int BLOCK = {4096 if staged else 8192};\n"
    head += fill(terms, term=loss.term, packed=loss.packed) + mapping.combiner("total", "plus")
    finish = _ATOMIC if atomic else "out[row] = sum;"
    body = fill(_BODY, finish=finish, staging=_STAGING if staged else "")
    params = "const float* left, const float* right, float* out, long n, int groups, float scale"
    params += (", sycl::local_accessor<float, 1> tile" if staged else "") + mapping.params
    frame = mapping.frame("const int rows = groups;\n" + body).replace(
        "if (row >= rows) return;\nconst int rows = groups;\n", ""
    )
    source = head + kernel("partial_sums", params, frame)
    block = "1" if mapping.mode == "solo" else "k.tune.WG_SIZE"
    local = (', k.local("float32", 8192)' if staged else "") + mapping.arguments
    launch = f'k.launch("partial_sums", grid=(groups,), block=({block},),\n'
    launch += f"             args=[a, b, {{out}}, n, groups, scale{local}])"
    if atomic:
        launches = 'y = k.zeros((), "float32")\n    ' + launch.format(out="y")
    else:
        source += kernel("finish", "const float* parts, float* out, int groups, float scale", _FINISH)
        launches = 'y = k.empty((), "float32")\n    parts = k.empty((groups,), "float32")\n    '
        launches += (
            launch.format(out="parts") + '\n    k.launch("finish", grid=(1,), block=(k.tune.WG_SIZE,), '
        )
        launches += "args=[parts, y, groups, scale])"
    plan = fill(_PLAN, divisor=loss.divisor, groups=genes["groups"], launches=launches)
    idea = (
        f"{loss.name}: {genes['groups']} work-groups take contiguous parts ({genes['reading']} reading), "
        f"{genes['combine']} combination, {genes['finish']} finish, {genes['vec']} floats per load."
    )
    return Draft(work_groups(int(genes["wg"])), source, plan, idea)


def _settle(genes: Genes) -> Genes:
    return {**genes, "reading": "direct"} if genes["combine"] == "solo" else genes


def recipe(task_id: str, loss: Loss) -> Recipe:
    """The recipe of a loss task."""
    fast = (("combine", "solo"), ("vec", 16), ("finish", "atomic"))
    return Recipe(task_id, "loss", GENES, partial(_write, loss), _settle, fast)
