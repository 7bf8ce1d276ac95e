"""Two outputs, one of them written by the first launch and the other by the second."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void means(const float* x, float* mean, int n) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const int r = it.get_global_id(0);
  float s = 0;
  for (int i = 0; i < n; ++i) s += x[r * n + i];
  mean[r] = s / n;
}
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void spreads(const float* x, const float* mean, float* spread, int n) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const int r = it.get_global_id(0);
  float s = 0;
  for (int i = 0; i < n; ++i) s += (x[r * n + i] - mean[r]) * (x[r * n + i] - mean[r]);
  spread[r] = sycl::sqrt(s / n);
}
"""


def plan(k, x):
    rows, n = x.shape
    mean, spread = k.empty((rows,)), k.empty((rows,))
    k.launch("means", grid=(rows // 4,), block=(4,), args=[x, mean, n])
    k.launch("spreads", grid=(rows // 4,), block=(4,), args=[x, mean, spread, n])
    return mean, spread
