"""The output is the workspace: relu goes there first, then it is normalised in place, twice over."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void relu(const float* x, float* y) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  y[it.get_global_id(0)] = sycl::fmax(x[it.get_global_id(0)], 0.0f);
}
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void centre(float* y, int n) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  float* row = y + it.get_group(0) * n;
  float s = 0;
  for (int i = it.get_local_id(0); i < n; i += 16) s += row[i];
  s = sycl::reduce_over_group(it.get_group(), s, sycl::plus<float>()) / n;
  for (int i = it.get_local_id(0); i < n; i += 16) row[i] -= s;
}
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void scale(float* y, const float* w, const float* b, int n, float eps) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  float* row = y + it.get_group(0) * n;
  float s = 0;
  for (int i = it.get_local_id(0); i < n; i += 16) s += row[i] * row[i];
  s = sycl::rsqrt(sycl::reduce_over_group(it.get_group(), s, sycl::plus<float>()) / n + eps);
  for (int i = it.get_local_id(0); i < n; i += 16) row[i] = row[i] * s * w[i] + b[i];
}
"""


def plan(k, x):
    rows, n = x.shape
    out = k.empty_like(x)
    k.launch("relu", grid=(x.numel() // 128,), block=(128,), args=[x, out])
    k.launch("centre", grid=(rows,), block=(16,), args=[out, n])
    k.launch(
        "scale", grid=(rows,), block=(16,), args=[out, k.param("norm.weight"), k.param("norm.bias"), n, 1e-5]
    )
    return out
