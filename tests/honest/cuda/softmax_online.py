"""Softmax in one pass over a row per warp, running maximum and sum merged by shuffles."""

LANGUAGE = "cuda"
SOURCE = r"""
extern "C" __global__ void softmax(const float* x, float* y, int n, int rows) {
  const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= rows) return;
  const float* p = x + (size_t)row * n;
  float top = __int_as_float(0xff800000), sum = 0;
  for (int i = lane; i < n; i += 32) {
    const float v = p[i], higher = fmaxf(top, v);
    sum = sum * expf(top - higher) + expf(v - higher);
    top = higher;
  }
  for (int s = 16; s; s >>= 1) {
    const float t = __shfl_xor_sync(~0u, top, s), u = __shfl_xor_sync(~0u, sum, s), higher = fmaxf(top, t);
    sum = sum * expf(top - higher) + u * expf(t - higher);
    top = higher;
  }
  for (int i = lane; i < n; i += 32) y[(size_t)row * n + i] = expf(p[i] - top) / sum;
}
"""


def plan(k, x):
    rows, n = x.shape
    y = k.empty_like(x)
    k.launch("softmax", grid=(k.cdiv(rows, 4),), block=(128,), args=[x, y, n, rows])
    return y
