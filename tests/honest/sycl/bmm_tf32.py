"""Batched product that declares TF32: operands truncated to eleven bits by a mask, as some hardware does."""

LANGUAGE = "sycl"
PRECISION = "tf32"
SOURCE = r"""
#include <sycl/sycl.hpp>
static inline float tf32(float v) { return sycl::bit_cast<float>((sycl::bit_cast<unsigned>(v) + 0x1000u) & 0xffffe000u); }

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<3>))
void bmm(const float* a, const float* b, float* c, int m, int n, int depth) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<3>();
  const int z = it.get_global_id(0), i = it.get_global_id(1), j = it.get_global_id(2);
  float s = 0;
  for (int t = 0; t < depth; ++t) s += tf32(a[(z * m + i) * depth + t]) * tf32(b[(z * depth + t) * n + j]);
  c[(z * m + i) * n + j] = s;
}
"""


def plan(k, a, b):
    batch, m, depth = a.shape
    n = b.shape[2]
    c = k.empty((batch, m, n))
    k.launch("bmm", grid=(n // 32, m, batch), block=(32, 1, 1), args=[a, b, c, m, n, depth])
    return c
