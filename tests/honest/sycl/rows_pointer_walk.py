"""Row norm by walking pointers backwards, with macros for everything."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

#define NONNEGATIVE(v) ((v) < 0 ? 0.0f : (v))
#define WALK(p, from, count) for (const float* p = (from) + (count); p-- != (from);)
extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void rows(const float* x, const float* w, const float* b, float* y, int n, float eps) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const float* const head = x + n * it.get_global_id(0);
  float* put = y + n * it.get_global_id(0) + n;
  float m = 0, v = 0;
  WALK(p, head, n) m += NONNEGATIVE(*p);
  m /= n;
  WALK(p, head, n) v += (NONNEGATIVE(*p) - m) * (NONNEGATIVE(*p) - m);
  v = 1.0f / sycl::sqrt(v / n + eps);
  WALK(p, head, n) { *--put = sycl::fma((NONNEGATIVE(*p) - m) * v, w[p - head], b[p - head]); }
}
"""


def plan(k, x):
    out = k.empty_like(x)
    k.launch(
        "rows",
        grid=(x.shape[0] // 4,),
        block=(4,),
        args=[x, k.param("norm.weight"), k.param("norm.bias"), out, x.shape[1], 1e-5],
    )
    return out
