"""Batched product that declares bf16: operands rounded to bfloat16."""

LANGUAGE = "sycl"
PRECISION = "bf16"
SOURCE = r"""
#include <sycl/sycl.hpp>
static inline float bf(float v) {
  const unsigned u = sycl::bit_cast<unsigned>(v);
  return sycl::bit_cast<float>((u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
}

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<3>))
void bmm(const float* a, const float* b, float* c, int m, int n, int depth) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<3>();
  const int z = it.get_global_id(0), i = it.get_global_id(1), j = it.get_global_id(2);
  float s = 0;
  for (int t = 0; t < depth; ++t) s += (bf(a[(z * m + i) * depth + t])) * (bf(b[(z * depth + t) * n + j]));
  c[(z * m + i) * n + j] = s;
}
"""


def plan(k, a, b):
    batch, m, depth = a.shape
    n = b.shape[2]
    c = k.empty((batch, m, n))
    k.launch("bmm", grid=(n // 32, m, batch), block=(32, 1, 1), args=[a, b, c, m, n, depth])
    return c
