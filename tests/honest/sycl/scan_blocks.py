"""Reverse cumulative sum in blocks: a scan over the group carries on from block to block."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void scan(const float* x, float* y, int n) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  auto g = it.get_group();
  const float* row = x + size_t(it.get_group(0)) * n;
  float* out = y + size_t(it.get_group(0)) * n;
  float carried = 0;
  for (int at = 0; at < n; at += 64) {
    const int i = n - 1 - at - int(it.get_local_id(0));
    const float v = sycl::inclusive_scan_over_group(g, i >= 0 ? row[i] : 0.0f, sycl::plus<float>()) + carried;
    if (i >= 0) out[i] = v;
    carried = sycl::group_broadcast(g, v, 63);
  }
}
"""


def plan(k, x):
    out = k.empty_like(x)
    k.launch("scan", grid=(x.shape[0],), block=(64,), args=[x, out, x.shape[1]])
    return out
