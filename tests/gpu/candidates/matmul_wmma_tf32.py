"""kb/L1/1 at TF32: warp-level matrix instructions through nvcuda::wmma, operands straight from memory."""

LANGUAGE = "cuda"
PRECISION = "tf32"
SOURCE = r"""
#include <mma.h>
using namespace nvcuda;

// Four warps compute 64 x 64 values, each warp 32 x 32 of them; sizes are multiples of 64.
extern "C" __global__ void __launch_bounds__(128)
matmul_wmma(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
            int n, int length) {
  const int warp = threadIdx.x / 32;
  const int row = blockIdx.y * 64 + (warp / 2) * 32, column = blockIdx.x * 64 + (warp % 2) * 32;
  wmma::fragment<wmma::accumulator, 16, 16, 8, float> sums[2][2];
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j) wmma::fill_fragment(sums[i][j], 0.0f);
  for (int at = 0; at < length; at += 8) {
    wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> left[2];
    wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> right[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      wmma::load_matrix_sync(left[i], a + (long long)(row + 16 * i) * length + at, length);
      wmma::load_matrix_sync(right[i], b + (long long)at * n + column + 16 * i, n);
      for (int t = 0; t < left[i].num_elements; ++t) left[i].x[t] = wmma::__float_to_tf32(left[i].x[t]);
      for (int t = 0; t < right[i].num_elements; ++t) right[i].x[t] = wmma::__float_to_tf32(right[i].x[t]);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) wmma::mma_sync(sums[i][j], left[i], right[j], sums[i][j]);
  }
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 2; ++j)
      wmma::store_matrix_sync(c + (long long)(row + 16 * i) * n + column + 16 * j, sums[i][j], n,
                              wmma::mem_row_major);
}
"""


def plan(k, a, b):
    m, length = a.shape
    n = b.shape[1]
    c = k.empty((m, n))
    k.launch("matmul_wmma", grid=(n // 64, m // 64), block=(128, 1), args=[a, b, c, n, length])
    return c
