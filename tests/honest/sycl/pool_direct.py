"""Max pooling, one work-item per output value, borders by comparison."""

LANGUAGE = "sycl"
SOURCE = r"""
#include <sycl/sycl.hpp>

extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sycl::ext::oneapi::experimental::nd_range_kernel<1>))
void pool(const float* x, float* y, int h, int w, int oh, int ow, int size, int stride, int pad, int dilation, int count) {
  auto it = sycl::ext::oneapi::this_work_item::get_nd_item<1>();
  const int i = it.get_global_id(0);
  if (i >= count) return;
  const int c = i % ow, r = i / ow % oh, image = i / (ow * oh);
  float best = sycl::bit_cast<float>(0xff800000u);
  for (int dr = 0; dr < size; ++dr)
    for (int dc = 0; dc < size; ++dc) {
      const int rr = r * stride - pad + dr * dilation, cc = c * stride - pad + dc * dilation;
      if (rr >= 0 && rr < h && cc >= 0 && cc < w) { const float v = x[(long(image) * h + rr) * w + cc]; if (!(v <= best)) best = v; }
    }
  y[i] = best;
}
"""


def plan(k, x):
    size, stride, pad = k.init("kernel_size"), k.init("stride"), k.init("padding")
    dilation = k.init("dilation")
    batch, channels, h, w = x.shape
    reach = dilation * (size - 1) + 1
    oh, ow = ((extent + 2 * pad - reach) // stride + 1 for extent in (h, w))
    out = k.empty((batch, channels, oh, ow))
    count = out.numel()
    k.launch(
        "pool",
        grid=(k.cdiv(count, 256),),
        block=(256,),
        args=[x, out, h, w, oh, ow, size, stride, pad, dilation, count],
    )
    return out
