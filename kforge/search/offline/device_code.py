"""Pieces of SYCL device code that several families share: headers, packs of floats, row mappings."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

PRELUDE = "#include <sycl/sycl.hpp>\n"
_PROPERTY = "sycl::ext::oneapi::experimental::nd_range_kernel<{dims}>"
FREE_FUNCTION = f'extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY(({_PROPERTY}))\n'

# The functions of the embedded tasks, in single precision. relu and leaky keep NaN as PyTorch does.
FUNCTIONS = {
    "relu": "x < 0.0f ? 0.0f : x",
    "sigmoid": "1.0f / (1.0f + sycl::exp(-x))",
    "gelu": "0.5f * x * (1.0f + sycl::erf(x * 0.70710678118654752f))",
    "new_gelu": "0.5f * x * (1.0f + sycl::tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)))",
}


def fill(text: str, **values: object) -> str:
    """Replace every ``@name@`` in ``text``."""
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def kernel(name: str, params: str, body: str, dims: int = 1) -> str:
    """A free-function kernel whose body finds its ``nd_item`` in ``it``."""
    item = f"  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<{dims}>();\n"
    head = FREE_FUNCTION.format(dims=dims) + f"void {name}({params}) {{\n"
    return head + item + indent(body.strip("\n"), "  ") + "\n}\n"


def packs(vec: int) -> str:
    """The type ``pack`` of ``vec`` floats with the alignment of one float, and its helpers.

    Rows need not start at a multiple of the pack, hence the relaxed alignment that ``sycl::vec`` lacks.
    """
    if vec == 1:
        return (
            "constexpr int VEC = 1;\n"
            "typedef float pack;\n"
            "static inline float sum_pack(pack p) { return p; }\n"
            "static inline float max_pack(pack p) { return p; }\n"
            "static inline pack wider(pack a, pack b) { return sycl::fmax(a, b); }\n"
            "static inline pack exp_pack(pack p) { return sycl::exp(p); }\n"
            "static inline pack load(const float* p) { return *p; }\n"
            "static inline void store(float* p, pack v) { *p = v; }\n"
        )
    return fill(
        """\
constexpr int VEC = @vec@;
typedef float pack __attribute__((ext_vector_type(@vec@), aligned(4)));
static inline float sum_pack(pack p) {
  float s = 0.0f;
  #pragma unroll
  for (int u = 0; u < VEC; ++u) s += p[u];
  return s;
}
static inline float max_pack(pack p) {
  float m = p[0];
  #pragma unroll
  for (int u = 1; u < VEC; ++u) m = sycl::fmax(m, p[u]);
  return m;
}
static inline pack wider(pack a, pack b) {
  pack m;
  #pragma unroll
  for (int u = 0; u < VEC; ++u) m[u] = sycl::fmax(a[u], b[u]);
  return m;
}
static inline pack exp_pack(pack p) {
  pack e;
  #pragma unroll
  for (int u = 0; u < VEC; ++u) e[u] = sycl::exp(p[u]);
  return e;
}
static inline pack load(const float* p) { return *reinterpret_cast<const pack*>(p); }
static inline void store(float* p, pack v) { *reinterpret_cast<pack*>(p) = v; }
""",
        vec=vec,
    )


ROW_MODES = ("group", "solo", "tree", "subgroup", "hierarchical", "serial")
MODE_WORDS = {
    "group": "one work-group per row, combined by reduce_over_group",
    "solo": "a work-group of a single work-item per row, so no barrier at all",
    "tree": "one work-group per row, combined by a tree in local memory",
    "subgroup": "one sub-group per row, combined by sub-group reductions",
    "hierarchical": "one work-group per row, sub-group reductions first and local memory between sub-groups",
    "serial": "one work-item per row",
}

_COMBINE = {
    "group": "return sycl::reduce_over_group(it.get_group(), v, sycl::@op@<float>());",
    "solo": "return v;",
    "serial": "return v;",
    "subgroup": "return sycl::reduce_over_group(it.get_sub_group(), v, sycl::@op@<float>());",
    "tree": """\
const int lid = it.get_local_id(0);
sycl::group_barrier(it.get_group());
shared[lid] = v;
for (int s = WG_SIZE / 2; s > 0; s /= 2) {
  sycl::group_barrier(it.get_group());
  if (lid < s) shared[lid] = @join@(shared[lid], shared[lid + s]);
}
sycl::group_barrier(it.get_group());
return shared[0];""",
    "hierarchical": """\
auto sg = it.get_sub_group();
const float mine = sycl::reduce_over_group(sg, v, sycl::@op@<float>());
sycl::group_barrier(it.get_group());
if (sg.leader()) shared[sg.get_group_linear_id()] = mine;
sycl::group_barrier(it.get_group());
float all = shared[0];
for (int s = 1; s < int(sg.get_group_linear_range()); ++s) all = @join@(all, shared[s]);
return all;""",
}


@dataclass(frozen=True, slots=True)
class RowMapping:
    """How work-items share the rows of a matrix: device functions, kernel frame, launch arguments."""

    mode: str

    @property
    def shares(self) -> bool:
        """Whether the mapping needs local memory to combine values."""
        return self.mode in ("tree", "hierarchical")

    def combiner(self, name: str, op: str) -> str:
        """A device function that combines ``v`` over the work-items of a row; op is plus or maximum."""
        join = "sycl::fmax" if op == "maximum" else "add"
        add = "static inline float add(float a, float b) { return a + b; }\n" if self.shares else ""
        body = indent(fill(_COMBINE[self.mode], op=op, join=join), "  ")
        head = f"static inline float {name}(sycl::nd_item<1> it, float* shared, float v) {{\n"
        return (add if op == "plus" else "") + head + body + "\n}\n"

    def frame(self, body: str) -> str:
        """Kernel body around ``body``, which sees row, lane, lanes and shared."""
        shared = "float* shared = &scratch[0];\n" if self.shares else "float* shared = nullptr;\n"
        if self.mode == "serial":
            head = "const long row = it.get_global_linear_id();\nconst int lane = 0, lanes = 1;\n"
            return shared + head + "if (row >= rows) return;\n" + body
        if self.mode != "subgroup":
            lanes = "1" if self.mode == "solo" else "WG_SIZE"
            head = f"const int lane = it.get_local_id(0);\nconstexpr int lanes = {lanes};\n"
            return shared + "const long row = it.get_group(0);\n" + head + "if (row >= rows) return;\n" + body
        return (
            shared
            + """\
auto sg = it.get_sub_group();
const int lane = sg.get_local_linear_id(), lanes = sg.get_local_linear_range();
const long teams = sg.get_group_linear_range(), first = it.get_group(0) * teams + sg.get_group_linear_id();
for (long row = first; row < rows; row += it.get_group_range(0) * teams) {
"""
            + indent(body.rstrip("\n"), "  ")
            + "\n}\n"
        )

    @property
    def params(self) -> str:
        """Extra kernel parameters, with their leading comma."""
        return ", sycl::local_accessor<float, 1> scratch" if self.shares else ""

    @property
    def arguments(self) -> str:
        """Extra launch arguments, with their leading comma."""
        return ', k.local("float32", k.tune.WG_SIZE)' if self.shares else ""

    @property
    def launch(self) -> str:
        """``grid`` and ``block`` of the launch, for a plan that has ``rows``."""
        return {
            "serial": "grid=(k.cdiv(rows, k.tune.WG_SIZE),), block=(k.tune.WG_SIZE,)",
            "solo": "grid=(rows,), block=(1,)",
            "subgroup": "grid=(min(rows, 512),), block=(k.tune.WG_SIZE,)",
        }.get(self.mode, "grid=(rows,), block=(k.tune.WG_SIZE,)")


def work_groups(chosen: int) -> dict[str, tuple[int, ...]]:
    """``TUNE`` for a work-group size: the chosen one first, its neighbours after it."""
    if chosen == 1:
        return {"WG_SIZE": (1,)}
    near = [size for size in (chosen * 2, chosen // 2) if 8 <= size <= 512]
    return {"WG_SIZE": (chosen, *near)}
