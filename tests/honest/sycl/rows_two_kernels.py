"""Row norm in two launches; mean and scale travel through a scratch workspace seen as floats."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void moments(const float* x, float* stats, int n, float eps) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const int r = it.get_global_id(0);
  float s = 0;
  for (int i = 0; i < n; ++i) s += sycl::fmax(x[r * n + i], 0.0f);
  float v = 0;
  for (int i = 0; i < n; ++i) { float d = sycl::fmax(x[r * n + i], 0.0f) - s / n; v += d * d; }
  stats[2 * r] = s / n;
  stats[2 * r + 1] = 1 / sycl::sqrt(v / n + eps);
}
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void apply(const float* x, const float* stats, const float* w, const float* b, float* y, int n) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const int i = it.get_global_id(0), r = i / n;
  y[i] = (sycl::fmax(x[i], 0.0f) - stats[2 * r]) * stats[2 * r + 1] * w[i % n] + b[i % n];
}
"""


def plan(k, x):
    rows, n = x.shape
    workspace = k.scratch(4096)
    stats = k.view(workspace, 16, "float32", (rows, 2))
    out = k.empty(x.shape)
    k.launch("moments", grid=(rows // 8,), block=(8,), args=[x, stats, n, 1e-5])
    k.launch(
        "apply",
        grid=(rows,),
        block=(n,),
        args=[x, stats, k.param("norm.weight"), k.param("norm.bias"), out, n],
    )
    return out
