"""Row norm with sub-group reductions combined by the whole group."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void rows(const float* x, const float* w, const float* b, float* y, int n, float eps) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  auto sg = it.get_sub_group();
  const bool first = sg.get_local_linear_id() == 0;
  const float* p = x + size_t(it.get_group(0)) * n;
  float a = 0;
  for (int i = it.get_local_id(0); i < n; i += 64) a += sycl::fmax(p[i], 0.0f);
  a = sycl::reduce_over_group(sg, a, sycl::plus<float>());
  const float m = sycl::reduce_over_group(it.get_group(), first ? a : 0.0f, sycl::plus<float>()) / n;
  float v = 0;
  for (int i = it.get_local_id(0); i < n; i += 64) v += sycl::pown(sycl::fmax(p[i], 0.0f) - m, 2);
  v = sycl::reduce_over_group(sg, v, sycl::plus<float>());
  v = sycl::reduce_over_group(it.get_group(), first ? v : 0.0f, sycl::plus<float>()) / n;
  for (int i = it.get_local_id(0); i < n; i += 64)
    y[size_t(it.get_group(0)) * n + i] = (sycl::fmax(p[i], 0.0f) - m) / sycl::sqrt(v + eps) * w[i] + b[i];
}
"""


def plan(k, x):
    out = k.empty_like(x)
    k.launch(
        "rows",
        grid=(x.shape[0],),
        block=(64,),
        args=[x, k.param("norm.weight"), k.param("norm.bias"), out, x.shape[1], 1e-5],
    )
    return out
