"""kb/L1/19: the input is copied by the runner, then changed where it lies."""

LANGUAGE = "cuda"
SOURCE = r"""
extern "C" __global__ void __launch_bounds__(256)
relu_in_place(float4* y, long long n4) {
  for (long long i = (long long)blockIdx.x * 256 + threadIdx.x; i < n4; i += (long long)gridDim.x * 256) {
    float4 v = y[i];
    if (v.x < 0.0f || v.y < 0.0f || v.z < 0.0f || v.w < 0.0f)
      y[i] = make_float4(v.x < 0.0f ? 0.0f : v.x, v.y < 0.0f ? 0.0f : v.y, v.z < 0.0f ? 0.0f : v.z,
                         v.w < 0.0f ? 0.0f : v.w);
  }
}
"""


def plan(k, x):
    y = k.empty_like(x)
    k.copy(y, x)
    k.launch("relu_in_place", grid={"waves": 1}, block=(256,), args=[y, x.numel() // 4])
    return y
