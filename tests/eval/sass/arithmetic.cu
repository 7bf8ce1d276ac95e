// Kernels that keep one unit busy.
#include <cuda_fp16.h>
#define INDEX (blockIdx.x * blockDim.x + threadIdx.x)

extern "C" __global__ void fma_chain(const float* x, float* y, int n) {
  float a = x[INDEX], b = a + 1.0f, c = a + 2.0f, d = a + 3.0f;
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int u = 0; u < 16; ++u) { a = a * a + b; b = b * b + c; c = c * c + d; d = d * d + a; }
  }
  y[INDEX] = a + b + c + d;
}

extern "C" __global__ void double_literals(const float* x, float* y, int n) {
  float a = x[INDEX];
  for (int k = 0; k < n; ++k) a = a * 1.0001 + 0.5 * a / (1.0 + k);
  y[INDEX] = a;
}

extern "C" __global__ void exponentials(const float* x, float* y, int n) {
  float a = x[INDEX], s = 0.0f;
  for (int k = 0; k < n; ++k) { s += __expf(a); a += __sinf(s) * __cosf(s); }
  y[INDEX] = s;
}

extern "C" __global__ void halves(const __half2* x, __half2* y, int n) {
  __half2 a = x[INDEX], b = a;
  for (int k = 0; k < n; ++k) b = __hfma2(a, b, __hadd2(a, b));
  y[INDEX] = b;
}

extern "C" __global__ void divisions(const float* x, float* y, int n, int h, int w) {
  for (int i = INDEX; i < n; i += gridDim.x * blockDim.x) {
    const int b = i / (h * w), r = i / w % h, c = i % w;
    y[(b * w + c) * h + r] = x[i];
  }
}

extern "C" __global__ void __launch_bounds__(1024, 2) spilling(const float* x, float* y, int n) {
  float v[96];
#pragma unroll
  for (int u = 0; u < 96; ++u) v[u] = x[INDEX + u * 1024];
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int u = 0; u < 96; ++u) v[u] = v[u] * v[(u + 7) % 96] + v[(u + 31) % 96];
  }
#pragma unroll
  for (int u = 0; u < 96; ++u) y[INDEX + u * 1024] = v[u];
}

extern "C" __global__ void local_array(const float* x, const int* at, float* y, int n) {
  float v[64];
  for (int u = 0; u < 64; ++u) v[u] = x[INDEX + u * 1024];
  float s = 0.0f;
  for (int k = 0; k < n; ++k) { s += v[at[k] & 63]; v[at[k + 1] & 63] = s; }
  y[INDEX] = s;
}

extern "C" __global__ void one_total(const float* x, float* y, int n) {
  for (int i = INDEX; i < n; i += gridDim.x * blockDim.x) atomicAdd(y, x[i]);
}

extern "C" __global__ void spread_atomics(const float* x, float* y) { atomicAdd(&y[threadIdx.x], x[INDEX]); }

extern "C" __global__ void warp_sum(const float* x, float* y) {
  float s = x[INDEX];
  for (int o = 16; o > 0; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
  if (threadIdx.x % 32 == 0) y[INDEX / 32] = s;
}

extern "C" __global__ void many_registers(const float* x, float* y, int n) {
  float v[128];
#pragma unroll
  for (int u = 0; u < 128; ++u) v[u] = x[INDEX + u * 1024];
  for (int k = 0; k < n; ++k) {
#pragma unroll
    for (int u = 0; u < 128; ++u) v[u] = v[u] * v[(u + 7) % 128] + 1.0f;
  }
  float s = 0.0f;
#pragma unroll
  for (int u = 0; u < 128; ++u) s += v[u];
  y[INDEX] = s;
}
