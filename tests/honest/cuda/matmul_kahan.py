"""Matrix product with compensated sums."""

LANGUAGE = "cuda"
SOURCE = r"""
extern "C" __global__ void product(const float* a, const float* b, float* c, int m, int n, int depth) {
  const int j = blockIdx.x * 32 + threadIdx.x, i = blockIdx.y * 8 + threadIdx.y;
  float s = 0, lost = 0;
  for (int t = 0; t < depth; ++t) {
    const float v = __fmul_rn(a[i * depth + t], b[t * n + j]) - lost, next = __fadd_rn(s, v);
    lost = __fsub_rn(__fsub_rn(next, s), v);
    s = next;
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
