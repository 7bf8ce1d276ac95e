"""Softmax with a search space and exponentials to the base of two."""

LANGUAGE = "cuda"
TUNE = {"WG": [256, 512, 1024]}
SOURCE = r"""
extern "C" __global__ void __launch_bounds__(WG) softmax(const float* __restrict__ x, float* __restrict__ y, int n) {
  __shared__ float s[WG];
  const float* p = x + (size_t)blockIdx.x * n;
  float m = __int_as_float(0xff800000), t = 0;
  for (int i = threadIdx.x; i < n; i += WG) m = fmaxf(m, __ldg(p + i));
  s[threadIdx.x] = m;
  for (int h = WG / 2; h; h /= 2) { __syncthreads(); if (threadIdx.x < h) s[threadIdx.x] = fmaxf(s[threadIdx.x], s[threadIdx.x + h]); }
  __syncthreads();
  m = s[0];
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += WG) t += exp2f((__ldg(p + i) - m) * 1.4426950408889634f);
  s[threadIdx.x] = t;
  for (int h = WG / 2; h; h /= 2) { __syncthreads(); if (threadIdx.x < h) s[threadIdx.x] += s[threadIdx.x + h]; }
  __syncthreads();
  t = 1 / s[0];
  for (int i = threadIdx.x; i < n; i += WG) y[(size_t)blockIdx.x * n + i] = exp2f((p[i] - m) * 1.4426950408889634f) * t;
}
"""


def plan(k, x):
    rows, n = x.shape
    y = k.empty_like(x)
    k.launch("softmax", grid=(rows,), block=(k.tune.WG,), args=[x, y, n])
    return y
