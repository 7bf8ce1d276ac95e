"""Declares fp16: operands rounded and multiplied in pairs of halves, sums in fp32."""

LANGUAGE = "cuda"
PRECISION = "fp16"
SOURCE = r"""
#include <cuda_fp16.h>
extern "C" __global__ void product(const float* a, const float* b, float* c, int m, int n, int depth) {
  const int j = blockIdx.x * 32 + threadIdx.x, i = blockIdx.y * 8 + threadIdx.y;
  float s = 0;
  for (int t = 0; t < depth; t += 2) {
    const __half2 l = __floats2half2_rn(a[i * depth + t], a[i * depth + t + 1]);
    const __half2 r = __floats2half2_rn(b[t * n + j], b[(t + 1) * n + j]);
    const float2 x = __half22float2(l), y = __half22float2(r);
    s += x.x * y.x + x.y * y.y;
  }
  c[i * n + j] = s;
}
"""


def plan(k, a, b):
    m, depth = a.shape
    n = b.shape[1]
    c = k.empty((m, n))
    k.launch("product", grid=(n // 32, m // 8), block=(32, 8), args=[a, b, c, m, n, depth])
    return c
