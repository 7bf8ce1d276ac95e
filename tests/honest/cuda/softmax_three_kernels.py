"""Softmax in three launches: maxima, sums, quotients; both statistics in one scratch buffer."""

LANGUAGE = "cuda"
SOURCE = r"""
extern "C" __global__ void maxima(const float* x, float* top, int n) {
  __shared__ float s[256];
  float m = __int_as_float(0xff800000);
  for (int i = threadIdx.x; i < n; i += 256) m = fmaxf(m, x[(size_t)blockIdx.x * n + i]);
  s[threadIdx.x] = m;
  for (int h = 128; h; h /= 2) { __syncthreads(); if (threadIdx.x < h) s[threadIdx.x] = fmaxf(s[threadIdx.x], s[threadIdx.x + h]); }
  if (!threadIdx.x) top[blockIdx.x] = s[0];
}
extern "C" __global__ void sums(const float* x, const float* top, float* total, int n) {
  __shared__ float s[256];
  float m = 0;
  for (int i = threadIdx.x; i < n; i += 256) m += expf(x[(size_t)blockIdx.x * n + i] - top[blockIdx.x]);
  s[threadIdx.x] = m;
  for (int h = 128; h; h /= 2) { __syncthreads(); if (threadIdx.x < h) s[threadIdx.x] += s[threadIdx.x + h]; }
  if (!threadIdx.x) total[blockIdx.x] = s[0];
}
extern "C" __global__ void quotients(const float* x, const float* top, const float* total, float* y, int n) {
  for (int i = threadIdx.x; i < n; i += 256)
    y[(size_t)blockIdx.x * n + i] = expf(x[(size_t)blockIdx.x * n + i] - top[blockIdx.x]) / total[blockIdx.x];
}
"""


def plan(k, x):
    rows, n = x.shape
    y = k.empty_like(x)
    scratch = k.scratch(8 * rows)
    top = k.view(scratch, 0, "float32", (rows,))
    total = k.view(scratch, rows, "float32", (rows,))
    k.launch("maxima", grid=(rows,), block=(256,), args=[x, top, n])
    k.launch("sums", grid=(rows,), block=(256,), args=[x, top, total, n])
    k.launch("quotients", grid=(rows,), block=(256,), args=[x, top, total, y, n])
    return y
