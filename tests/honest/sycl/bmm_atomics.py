"""Split depth with atomic additions: the order of the sums, and so the last bits, vary from run to run."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<3>))
void bmm(const float* a, const float* b, float* c, int m, int n, int depth) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<3>();
  const int part = it.get_group(0) % 4, z = it.get_group(0) / 4;
  const int i = it.get_global_id(1), j = it.get_global_id(2);
  float s = 0;
  for (int t = part * depth / 4; t < (part + 1) * depth / 4; ++t) s += a[(z * m + i) * depth + t] * b[(z * depth + t) * n + j];
  sycl::atomic_ref<float, sycl::memory_order::relaxed, sycl::memory_scope::device, sycl::access::address_space::global_space>
      total(c[(z * m + i) * n + j]);
  total.fetch_add(s);
}
"""


def plan(k, a, b):
    batch, m, depth = a.shape
    n = b.shape[2]
    c = k.zeros((batch, m, n), "float32")
    k.launch("bmm", grid=(n // 32, m, batch * 4), block=(32, 1, 1), args=[a, b, c, m, n, depth])
    return c
