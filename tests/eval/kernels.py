"""Device code of known designs for the tests of facts and measures; every kernel is ``main_kernel``."""

from __future__ import annotations

HEAD = """
#include <sycl/sycl.hpp>
namespace sx = sycl::ext::oneapi;
#define KERNEL extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>)) void
"""
ID = "  auto it = sx::this_work_item::get_nd_item<1>();\n  const size_t i = it.get_global_id(0);\n"


def kernel(parameters: str, body: str, name: str = "main_kernel") -> str:
    return f"{HEAD}KERNEL {name}({parameters}) {{\n{ID}{body}\n}}\n"


ELEMENTWISE = kernel("const float* x, float* y", "y[i] = x[i] * 2.0f + 1.0f;")
VECTOR = kernel("const sycl::vec<float, 4>* x, sycl::vec<float, 4>* y", "y[i] = x[i] * 2.0f;")
NATIVE_VECTOR = (
    HEAD
    + "typedef float float4v __attribute__((ext_vector_type(4)));\n"
    + kernel(
        "const float* x, float* y",
        "reinterpret_cast<float4v*>(y)[i] = reinterpret_cast<const float4v*>(x)[i] * 2.0f;",
    ).removeprefix(HEAD)
)
LOCAL_TILE = kernel(
    "const float* x, float* y, sycl::local_accessor<float, 1> tile",
    "const int l = it.get_local_id(0), w = it.get_local_range(0);\n  tile[l] = x[i];\n"
    "  sycl::group_barrier(it.get_group());\n  y[i] = tile[(l + 1) % w] + tile[(l + 2) % w];",
)
REGISTER_TILE = kernel(
    "const float* a, const float* b, float* c, int n, sycl::local_accessor<float, 1> ta, "
    "sycl::local_accessor<float, 1> tb",
    """const int l = it.get_local_id(0), g = it.get_group(0);
  float acc[8][8] = {};
  for (int t = 0; t < n; t += 16) {
    for (int e = 0; e < 8; ++e) {
      ta[e * 16 + l] = a[(size_t(g) * 128 + e * 16 + l) * n + t];
      tb[e * 16 + l] = b[(size_t(t) + l) * 128 + e];
    }
    sycl::group_barrier(it.get_group());
    for (int k = 0; k < 16; ++k) {
      float ra[8], rb[8];
      for (int e = 0; e < 8; ++e) { ra[e] = ta[e * 16 + k]; rb[e] = tb[e * 16 + k]; }
      for (int p = 0; p < 8; ++p) for (int q = 0; q < 8; ++q) acc[p][q] += ra[p] * rb[q];
    }
    sycl::group_barrier(it.get_group());
  }
  for (int p = 0; p < 8; ++p)
    for (int q = 0; q < 8; ++q) c[(size_t(g) * 8 + p) * 128 + q * 16 + l] = acc[p][q];""",
)
_OWN_SUM = (
    "float s = 0.0f;\n  for (int k = it.get_local_id(0); k < n; k += it.get_local_range(0)) "
    "s += x[it.get_group(0) * size_t(n) + k];\n"
)
GROUP_REDUCE = kernel(
    "const float* x, float* y, int n",
    _OWN_SUM + "  s = sycl::reduce_over_group(it.get_group(), s, sycl::plus<float>());\n"
    "  if (it.get_local_id(0) == 0) y[it.get_group(0)] = s;",
)
SUBGROUP_REDUCE = kernel(
    "const float* x, float* y, int n",
    _OWN_SUM + "  auto sg = it.get_sub_group();\n"
    "  for (int o = 4; o > 0; o /= 2) s += sycl::shift_group_left(sg, s, o);\n"
    "  if (sg.get_local_id()[0] == 0) y[i / 8] = s;",
)
HIERARCHICAL = kernel(
    "const float* x, float* y, int n, sycl::local_accessor<float, 1> parts",
    _OWN_SUM + "  auto sg = it.get_sub_group();\n"
    "  s = sycl::reduce_over_group(sg, s, sycl::plus<float>());\n"
    "  if (sg.get_local_id()[0] == 0) parts[sg.get_group_id()[0]] = s;\n"
    "  sycl::group_barrier(it.get_group());\n"
    "  if (it.get_local_id(0) == 0) {\n    float all = 0.0f;\n"
    "    for (unsigned k = 0; k < sg.get_group_range()[0]; ++k) all += parts[k];\n"
    "    y[it.get_group(0)] = all;\n  }",
)
ATOMIC = kernel(
    "const float* x, float* y, int n",
    _OWN_SUM
    + "  sycl::atomic_ref<float, sycl::memory_order::relaxed, sycl::memory_scope::device> total(y[0]);\n"
    "  total.fetch_add(s);",
)
