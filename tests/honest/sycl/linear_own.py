"""Linear, bias and ReLU in one kernel: a row of the input in local memory."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void linear(const float* x, const float* w, const float* bias, float* y, int n, int depth, sycl::local_accessor<float, 1> row) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const int r = it.get_group(0), l = it.get_local_id(0);
  for (int i = l; i < depth; i += 128) row[i] = x[r * depth + i];
  sycl::group_barrier(it.get_group());
  for (int j = l; j < n; j += 128) {
    float s = 0;
    for (int t = 0; t < depth; ++t) s += row[t] * w[j * depth + t];
    y[r * n + j] = sycl::fmax(s + bias[j], 0.0f);
  }
}
"""


def plan(k, x):
    rows, depth = x.shape
    weight = k.param("gemm.weight")
    n = weight.shape[0]
    out = k.empty((rows, n))
    k.launch(
        "linear",
        grid=(rows,),
        block=(128,),
        args=[x, weight, k.param("bias"), out, n, depth, k.local("float32", depth)],
    )
    return out
