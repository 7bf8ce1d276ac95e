"""Leaves eps out of the root."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>
namespace sx = sycl::ext::oneapi;

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>))
void row_norm(const float* x, const float* w, const float* b, float* y, int n, float eps) {
  auto it = sx::this_work_item::get_nd_item<1>();
  auto group = it.get_group();
  const float* row = x + size_t(it.get_group(0)) * n;
  float* out = y + size_t(it.get_group(0)) * n;
  const int first = it.get_local_id(0), step = it.get_local_range(0);
  float sum = 0.0f;
  for (int i = first; i < n; i += step) sum += sycl::fmax(row[i], 0.0f);
  const float mean = sycl::reduce_over_group(group, sum, sycl::plus<float>()) / n;
  float squares = 0.0f;
  for (int i = first; i < n; i += step) {
    const float rest = sycl::fmax(row[i], 0.0f) - mean;
    squares += rest * rest;
  }
  const float variance = sycl::reduce_over_group(group, squares, sycl::plus<float>()) / n;
  const float scale = sycl::rsqrt(variance);
  for (int i = first; i < n; i += step) {
    out[i] = (sycl::fmax(row[i], 0.0f) - mean) * scale * w[i] + b[i];
  }
}
"""


def plan(k, x):
    out = k.empty_like(x)
    k.launch(
        "row_norm",
        grid=(x.shape[0],),
        block=(64,),
        args=[x, k.param("norm.weight"), k.param("norm.bias"), out, x.shape[1], 1e-5],
    )
    return out
