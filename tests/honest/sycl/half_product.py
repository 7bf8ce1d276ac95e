"""A task in half precision: values are read and written as halves, multiplied and added in fp32."""

LANGUAGE = "sycl"
PRECISION = "fp16"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void product(const sycl::half* a, const sycl::half* b, sycl::half* c, int n, int depth) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const int i = it.get_global_id(0) / n, j = it.get_global_id(0) % n;
  float s = 0;
  for (int t = 0; t < depth; ++t) s += float(a[i * depth + t]) * float(b[t * n + j]);
  c[i * n + j] = sycl::half(s);
}
"""


def plan(k, a, b):
    c = k.empty((a.shape[0], b.shape[1]), "float16")
    k.launch("product", grid=(c.numel() // 32,), block=(32,), args=[a, b, c, b.shape[1], a.shape[1]])
    return c
