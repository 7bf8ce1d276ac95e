"""Reductions over a dimension that is not contiguous: sum over ``dim`` and RMS norm over channels."""

from __future__ import annotations

from textwrap import indent

from kforge.search.offline.device_code import PRELUDE, fill, kernel, packs, work_groups
from kforge.search.offline.genes import Draft, Gene, Genes, Recipe

TEAMS = 4
SUM_GENES = (
    Gene("split", ("none", "teams", "two_stage", "atomic")),
    Gene("wg", (64, 1, 16, 32, 128, 256)),
    Gene("vec", (1, 4, 8, 16)),
    Gene("unroll", (4, 1, 8)),
)
RMS_GENES = (
    Gene("split", ("none", "teams", "separate")),
    Gene("keep", ("none", "registers")),
    Gene("wg", (64, 1, 16, 32, 128, 256)),
    Gene("vec", (1, 4, 8, 16)),
    Gene("unroll", (4, 1, 8)),
)
_WORDS = {
    "none": "each work-item walks down its columns alone",
    "teams": f"{TEAMS} teams of a work-group share the depth and meet in local memory",
    "two_stage": "slices of the depth go to a buffer that a second kernel adds up",
    "atomic": "slices of the depth are added to the output with atomics",
    "separate": "one kernel finds the scales, a second applies them",
}
# Columns are numbered over the whole output: outer index and position within the inner extent.
_PLACE = """\
const long chunks = (inner + long(COLS) * VEC - 1) / (long(COLS) * VEC);
const long block = it.get_group(0) % (chunks * outer), slice = it.get_group(0) / (chunks * outer);
const long o = block / chunks;
const int lid = it.get_local_id(0), column = lid % COLS, team = lid / COLS;
const long c = ((block % chunks) * COLS + column) * VEC;
"""
# Sums a column (or a pack of them) in UNROLL independent chains: faster, and less rounding.
_WALK = """\
// A template argument drops the alignment that pack declares, so the access itself stays in load().
template <typename P> static inline P fetch(const float* p) {
  if constexpr (sizeof(P) == sizeof(float)) return *p;
  else return load(p);
}
template <typename P> static inline P walk(const float* x, long inner, int from, int to) {
  P part[UNROLL];
  #pragma unroll
  for (int u = 0; u < UNROLL; ++u) part[u] = P(0.0f);
  int d = from;
  for (; d + UNROLL <= to; d += UNROLL) {
    #pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
      const P v = fetch<P>(x + (d + u) * inner);
      part[u] += @term@;
    }
  }
  for (; d < to; ++d) {
    const P v = fetch<P>(x + d * inner);
    part[0] += @term@;
  }
  #pragma unroll
  for (int u = 1; u < UNROLL; ++u) part[0] += part[u];
  return part[0];
}
"""
# Runs @whole@ on a full pack of columns, else @single@ column by column.
_EITHER = """\
if (c + VEC <= inner) {
@whole@
} else {
  for (long q = c; q < inner; ++q) {
@single@
  }
}
"""


def _either(statement: str) -> str:
    """Both forms of a statement written with @T@ (type), @at@ (column) and @get@/@put@ (access)."""
    whole = fill(statement, T="pack", at="c")
    single = fill(statement, T="float", at="q")
    return fill(_EITHER, whole=indent(whole, "  "), single=indent(single, "    "))


def _head(genes: Genes, term: str, cols: str) -> str:
    unroll = f"constexpr int UNROLL = {genes['unroll']};\nconstexpr int COLS = {cols};\n"
    return PRELUDE + packs(int(genes["vec"])) + unroll + fill(_WALK, term=term)


_SLICE = "const int from = int(long(depth) * slice / slices), to = int(long(depth) * (slice + 1) / slices);\n"
_TEAM = "const int from = int(long(depth) * team / TEAMS), to = int(long(depth) * (team + 1) / TEAMS);\n"
_SUM = "const @T@ s = walk<@T@>(in + o * depth * inner + @at@, inner, from, to);\n"
_STORE = "*reinterpret_cast<@T@*>(out + (slice * outer + o) * inner + @at@) = s;"
_ATOMIC = """\
for (int u = 0; u < int(sizeof(@T@) / sizeof(float)); ++u) {
  sycl::atomic_ref<float, sycl::memory_order::relaxed, sycl::memory_scope::device,
                   sycl::access::address_space::global_space> cell(out[o * inner + @at@ + u]);
  cell.fetch_add(reinterpret_cast<const float*>(&s)[u]);
}"""
_TO_TILE = "*reinterpret_cast<@T@*>(&tile[lid * VEC + (@at@ - c)]) = s;"
_FROM_TILE = """\
@T@ s = @T@(0.0f);
for (int t = 0; t < TEAMS; ++t) {
  s += *reinterpret_cast<const @T@*>(&tile[(t * COLS + column) * VEC + (@at@ - c)]);
}
"""
_TILE = ", sycl::local_accessor<float, 1> tile"
_COMBINE = """\
const long i = it.get_global_linear_id();
if (i >= count) return;
float s = 0.0f;
for (int k = 0; k < slices; ++k) s += parts[k * count + i];
out[i] = s;
"""
_SUM_PLAN = """\
def plan(k, x):
    dim = k.init("dim") % x.ndim
    depth = x.shape[dim]
    outer = math.prod(x.shape[:dim])
    inner = math.prod(x.shape[dim + 1:])
    shape = tuple(x.shape[:dim]) + (1,) + tuple(x.shape[dim + 1:])
    blocks = outer * k.cdiv(inner, @cols@)
    @launches@
    return y
"""


def _write_sum(genes: Genes) -> Draft:
    split, vec, wg = str(genes["split"]), int(genes["vec"]), int(genes["wg"])
    params = "const float* in, float* out, long outer, int depth, long inner, int slices"
    tune = work_groups(wg)
    cols, local = "WG_SIZE", ""
    body = _PLACE + _SLICE
    if split == "teams":
        cols, tune, params = (
            "WG_SIZE / TEAMS",
            {"WG_SIZE": (wg,)},
            params + _TILE,
        )
        local = f', k.local("float32", k.tune.WG_SIZE * {vec})'
        meet = "sycl::group_barrier(it.get_group());\nif (team != 0) return;\n"
        body = _PLACE + _TEAM + _either(_SUM + _TO_TILE) + meet + _either(_FROM_TILE + _STORE)
    elif split == "atomic":
        body += _either(_SUM + _ATOMIC)
    else:
        body += _either(_SUM + _STORE)
    teams = f"constexpr int TEAMS = {TEAMS};\n"
    source = _head(genes, "v", cols).replace("constexpr int COLS", teams + "constexpr int COLS")
    source += kernel("sum_columns", params, body)
    launch = 'k.launch("sum_columns", grid=(blocks * {s},), block=(k.tune.WG_SIZE,),\n'
    launch += "             args=[x, {out}, outer, depth, inner, {s}" + local + "])"
    fresh = 'y = k.{how}(shape, "float32")\n    '
    if split == "two_stage":
        source += kernel("add_slices", "const float* parts, float* out, long count, int slices", _COMBINE)
        launches = fresh.format(how="empty") + 'parts = k.empty((4, outer * inner), "float32")\n    '
        launches += launch.format(s=4, out="parts") + "\n    count = outer * inner\n    "
        launches += 'k.launch("add_slices", grid=(k.cdiv(count, k.tune.WG_SIZE),), block=(k.tune.WG_SIZE,), '
        launches += "args=[parts, y, count, 4])"
    elif split == "atomic":
        launches = fresh.format(how="zeros") + launch.format(s=4, out="y")
    else:
        launches = fresh.format(how="empty") + launch.format(s=1, out="y")
    columns = f"k.tune.WG_SIZE // {TEAMS} * {vec}" if split == "teams" else f"k.tune.WG_SIZE * {vec}"
    plan = fill(_SUM_PLAN, cols=columns, launches=launches)
    idea = f"sum over a dimension: {_WORDS[split]}; {vec} columns per load, {genes['unroll']} chains."
    return Draft(tune, source, plan, idea)


_INV = "const @T@ inv = root(s / float(depth) + eps);\n"
_ROOT = """\
static inline float root(float v) { return 1.0f / sycl::sqrt(v); }
template <typename P> static inline P root(P v) {
  #pragma unroll
  for (int u = 0; u < VEC; ++u) v[u] = 1.0f / sycl::sqrt(v[u]);
  return v;
}
"""
_SCALE = """\
for (int d = from; d < to; ++d) {
  const long i = (o * depth + d) * inner + @at@;
  *reinterpret_cast<@T@*>(out + i) = *reinterpret_cast<const @T@*>(in + i) * inv;
}"""
_REGISTERS = """\
if (c >= inner) return;
const float* x = in + o * depth * inner + c;
float kept[KEPT], s = 0.0f;
#pragma unroll
for (int d = 0; d < KEPT; ++d) {
  kept[d] = d < depth ? x[d * inner] : 0.0f;
  s += kept[d] * kept[d];
}
for (int d = KEPT; d < depth; ++d) s += x[d * inner] * x[d * inner];
const float inv = root(s / float(depth) + eps);
float* y = out + o * depth * inner + c;
#pragma unroll
for (int d = 0; d < KEPT; ++d) {
  if (d < depth) y[d * inner] = kept[d] * inv;
}
for (int d = KEPT; d < depth; ++d) y[d * inner] = x[d * inner] * inv;
"""
_RMS_PLAN = """\
def plan(k, x):
    outer = x.shape[0]
    depth = x.shape[1]
    inner = math.prod(x.shape[2:])
    y = k.empty_like(x)
    blocks = outer * k.cdiv(inner, @cols@)
    @launches@
    return y
"""


def _rms_kernels(genes: Genes) -> tuple[str, list[tuple[str, str, str]]]:
    """Device code, and for each launch the kernel, its tensors and its local arguments."""
    split, shape = str(genes["split"]), ", long outer, int depth, long inner, float eps"
    place = _PLACE + "const int from = 0, to = depth;\n"
    params = "const float* in, float* out" + shape
    if genes["keep"] == "registers":
        return kernel("rms_norm", params, _PLACE + _REGISTERS), [("rms_norm", "x, y", "")]
    if split == "teams":
        body = _PLACE + _TEAM + _either(_SUM + _TO_TILE) + "sycl::group_barrier(it.get_group());\n"
        code = kernel("rms_norm", params + _TILE, body + _either(_FROM_TILE + _INV + _SCALE))
        return code, [("rms_norm", "x, y", f', k.local("float32", k.tune.WG_SIZE * {genes["vec"]})')]
    if split == "separate":
        keep_inv = "*reinterpret_cast<@T@*>(scales + o * inner + @at@) = inv;"
        get_inv = "const @T@ inv = *reinterpret_cast<const @T@*>(scales + o * inner + @at@);\n"
        find_params = "const float* in, float* scales" + shape
        apply_params = "const float* in, const float* scales, float* out" + shape
        first = kernel("find_scales", find_params, place + _either(_SUM + _INV + keep_inv))
        second = kernel("apply_scales", apply_params, place + _either(get_inv + _SCALE))
        return first + second, [("find_scales", "x, scales", ""), ("apply_scales", "x, scales, y", "")]
    return kernel("rms_norm", params, place + _either(_SUM + _INV + _SCALE)), [("rms_norm", "x, y", "")]


_RMS_LAUNCH = """\
k.launch("@name@", grid=(blocks,), block=(k.tune.WG_SIZE,),
             args=[@args@, outer, depth, inner, 1e-5@local@])"""


def _write_rms(genes: Genes) -> Draft:
    split, vec, wg = str(genes["split"]), int(genes["vec"]), int(genes["wg"])
    teams = split == "teams"
    code, parts = _rms_kernels(genes)
    head = _head(genes, "v * v", "WG_SIZE / TEAMS" if teams else "WG_SIZE") + _ROOT
    head = head.replace(
        "constexpr int COLS", f"constexpr int TEAMS = {TEAMS}, KEPT = 64;\nconstexpr int COLS"
    )
    launches = "\n    ".join(
        fill(_RMS_LAUNCH, name=name, args=args, local=local) for name, args, local in parts
    )
    if split == "separate":
        launches = 'scales = k.empty((outer, inner), "float32")\n    ' + launches
    columns = f"k.tune.WG_SIZE // {TEAMS} * {vec}" if teams else f"k.tune.WG_SIZE * {vec}"
    kept = "the first 64 channels stay in registers; " if genes["keep"] == "registers" else ""
    idea = f"rms norm over channels: {kept}{_WORDS[split]}; {vec} columns per load, {genes['unroll']} chains."
    tune = {"WG_SIZE": (wg,)} if teams else work_groups(wg)
    return Draft(tune, head + code, fill(_RMS_PLAN, cols=columns, launches=launches), idea)


def _settle_sum(genes: Genes) -> Genes:
    # Teams need several work-items; a lone one needs no teams.
    return {**genes, "split": "none"} if genes["split"] == "teams" and genes["wg"] == 1 else genes


def _settle_rms(genes: Genes) -> Genes:
    genes = _settle_sum(genes)
    return {**genes, "split": "none", "vec": 1, "unroll": 4} if genes["keep"] == "registers" else genes


def recipe(task_id: str, kind: str) -> Recipe:
    """The recipe of a column task; ``kind`` is sum or rms."""
    fast = (("wg", 1), ("vec", 16))
    if kind == "sum":
        return Recipe(task_id, "column_sum", SUM_GENES, _write_sum, _settle_sum, fast)
    return Recipe(task_id, "column_rms", RMS_GENES, _write_rms, _settle_rms, fast)
