"""Row norm with a search space: work-group, unrolling and a branch that a choice removes."""

LANGUAGE = "sycl"
TUNE = {"WG": [32, 64, 96, 128], "DIVIDE": [True, False]}
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void rows(const float* x, const float* w, const float* b, float* y, int n, float eps) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const float* p = x + size_t(it.get_group(0)) * n;
  float s = 0, v = 0;
#pragma unroll
  for (int u = 0; u < 256 / WG; ++u) s += sycl::fmax(p[u * WG + it.get_local_id(0)], 0.0f);
  s = sycl::reduce_over_group(it.get_group(), s, sycl::plus<float>()) / n;
  for (int i = it.get_local_id(0); i < n; i += WG) { float d = sycl::fmax(p[i], 0.0f) - s; v += d * d; }
  v = sycl::reduce_over_group(it.get_group(), v, sycl::plus<float>()) / n + eps;
  const float t = DIVIDE ? 1.0f / sycl::sqrt(v) : sycl::rsqrt(v);
  for (int i = it.get_local_id(0); i < n; i += WG) y[size_t(it.get_group(0)) * n + i] = (sycl::fmax(p[i], 0.0f) - s) * t * w[i] + b[i];
}
"""


def valid(tune):
    return 256 % tune["WG"] == 0


def plan(k, x):
    out = k.empty_like(x)
    k.launch(
        "rows",
        grid=(x.shape[0],),
        block=(k.tune.WG,),
        args=[x, k.param("norm.weight"), k.param("norm.bias"), out, x.shape[1], 1e-5],
    )
    return out
