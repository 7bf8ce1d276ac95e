"""Batched product in slices of the depth: the output is a memset, then every launch adds its share."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<3>))
void add_slice(const float* a, const float* b, float* c, int m, int n, int depth, int from, int to) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<3>();
  const int z = it.get_global_id(0), i = it.get_global_id(1), j = it.get_global_id(2);
  float s = c[(z * m + i) * n + j];
  for (int t = from; t < to; ++t) s = sycl::fma(a[(z * m + i) * depth + t], b[(z * depth + t) * n + j], s);
  c[(z * m + i) * n + j] = s;
}
"""


def plan(k, a, b):
    batch, m, depth = a.shape
    n = b.shape[2]
    c = k.empty((batch, m, n))
    k.memset(c, 0)
    for start in range(0, depth, 32):
        k.launch(
            "add_slice",
            grid=(n // 32, m, batch),
            block=(32, 1, 1),
            args=[a, b, c, m, n, depth, start, min(depth, start + 32)],
        )
    return c
