// Square matrix products C = A B of n by n, from naive to tensor cores.
#include <cuda_fp16.h>
#include <mma.h>

extern "C" __global__ void matmul_naive(const float* a, const float* b, float* c, int n) {
  const int col = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y * 8 + threadIdx.y;
  float s = 0.0f;
  for (int k = 0; k < n; ++k) s += a[row * n + k] * b[k * n + col];
  c[row * n + col] = s;
}

extern "C" __global__ void matmul_swapped(const float* a, const float* b, float* c, int n) {
  const int row = blockIdx.x * 32 + threadIdx.x, col = blockIdx.y * 8 + threadIdx.y;
  float s = 0.0f;
  for (int k = 0; k < n; ++k) s += a[row * n + k] * b[k * n + col];
  c[row * n + col] = s;
}

extern "C" __global__ void matmul_tiled(const float* a, const float* b, float* c, int n) {
  __shared__ float ta[32][32], tb[32][32];
  const int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * 32 + y, col = blockIdx.x * 32 + x;
  float s = 0.0f;
  for (int k = 0; k < n; k += 32) {
    ta[y][x] = a[row * n + k + x];
    tb[y][x] = b[(k + y) * n + col];
    __syncthreads();
#pragma unroll
    for (int u = 0; u < 32; ++u) s += ta[y][u] * tb[u][x];
    __syncthreads();
  }
  c[row * n + col] = s;
}

extern "C" __global__ void __launch_bounds__(256) matmul_registers(const float* a, const float* b, float* c, int n) {
  __shared__ float4 ta[8][32], tb[8][32];
  const int t = threadIdx.x, tx = t % 16, ty = t / 16, row = blockIdx.y * 128, col = blockIdx.x * 128;
  float acc[8][8] = {};
  for (int k = 0; k < n; k += 8) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int i = e * 256 + t;
      ((float*)ta)[i % 8 * 128 + i / 8] = a[(row + i / 8) * n + k + i % 8];
      ((float*)tb)[i] = b[(k + i / 128) * n + col + i % 128];
    }
    __syncthreads();
#pragma unroll
    for (int u = 0; u < 8; ++u) {
      float fa[8], fb[8];
      *(float4*)&fa[0] = ta[u][ty]; *(float4*)&fa[4] = ta[u][ty + 16];
      *(float4*)&fb[0] = tb[u][tx]; *(float4*)&fb[4] = tb[u][tx + 16];
#pragma unroll
      for (int p = 0; p < 8; ++p)
#pragma unroll
        for (int q = 0; q < 8; ++q) acc[p][q] += fa[p] * fb[q];
    }
    __syncthreads();
  }
#pragma unroll
  for (int p = 0; p < 8; ++p)
#pragma unroll
    for (int q = 0; q < 8; ++q)
      c[(row + ty * 4 + p % 4 + p / 4 * 64) * n + col + tx * 4 + q % 4 + q / 4 * 64] = acc[p][q];
}

extern "C" __global__ void matmul_wmma(const __half* a, const __half* b, float* c, int n) {
  using namespace nvcuda::wmma;
  fragment<matrix_a, 16, 16, 16, __half, row_major> fa;
  fragment<matrix_b, 16, 16, 16, __half, row_major> fb;
  fragment<accumulator, 16, 16, 16, float> fc;
  fill_fragment(fc, 0.0f);
  const int row = (blockIdx.y * 4 + threadIdx.x / 32) * 16, col = blockIdx.x * 16;
  for (int k = 0; k < n; k += 16) {
    load_matrix_sync(fa, a + row * n + k, n);
    load_matrix_sync(fb, b + k * n + col, n);
    mma_sync(fc, fa, fb, fc);
  }
  store_matrix_sync(c + row * n + col, fc, n, mem_row_major);
}

extern "C" __global__ void matmul_tf32(const float* a, const float* b, float* c, int n) {
  using namespace nvcuda::wmma;
  fragment<matrix_a, 16, 16, 8, precision::tf32, row_major> fa;
  fragment<matrix_b, 16, 16, 8, precision::tf32, row_major> fb;
  fragment<accumulator, 16, 16, 8, float> fc;
  fill_fragment(fc, 0.0f);
  const int row = (blockIdx.y * 4 + threadIdx.x / 32) * 16, col = blockIdx.x * 16;
  for (int k = 0; k < n; k += 8) {
    load_matrix_sync(fa, a + row * n + k, n);
    load_matrix_sync(fb, b + k * n + col, n);
    mma_sync(fc, fa, fb, fc);
  }
  store_matrix_sync(c + row * n + col, fc, n, mem_row_major);
}
