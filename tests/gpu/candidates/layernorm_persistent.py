"""kb/L1/40 in one cooperative launch: every byte of x is read once and stays on chip until it is normalised.

A block holds its slice of a row in shared memory while the grid agrees on the row's moments, and has the next
row's slice on its way in registers meanwhile. Weight and bias stay in L2, which x and y only stream through.
"""

LANGUAGE = "cuda"
SOURCE = r"""
#include <cooperative_groups.h>
namespace cg = cooperative_groups;

constexpr int THREADS = 1024, PER_THREAD = 8;

__device__ __forceinline__ float sum4(float4 v) { return (v.x + v.y) + (v.z + v.w); }

__device__ __forceinline__ float squares4(float4 v, float mean) {
  float a = v.x - mean, b = v.y - mean, c = v.z - mean, d = v.w - mean;
  return (a * a + b * b) + (c * c + d * d);
}

__device__ __forceinline__ float block_sum(float v, float* warps) {
  for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
  __syncthreads();  // the sum before this one may still be being read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  float total = warps[threadIdx.x % 32];
  for (int offset = 16; offset > 0; offset >>= 1) total += __shfl_xor_sync(0xffffffffu, total, offset);
  return total;
}

__device__ __forceinline__ void load(float4 (&to)[PER_THREAD], const float4* __restrict__ from, int size) {
#pragma unroll
  for (int j = 0; j < PER_THREAD; ++j) {
    int i = threadIdx.x + j * THREADS;
    to[j] = i < size ? __ldcs(from + i) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
}

// Mean and sum of squared deviations of a whole row from those of every block's slice; called by one warp.
__device__ __forceinline__ float2 row_moments(const float2* slices, int slice, int n4) {
  float n = 0.0f, mean = 0.0f, m2 = 0.0f;
  auto merge = [&](float n_b, float mean_b, float m2_b) {
    float total = n + n_b;
    if (total == 0.0f) return;
    float share = n_b / total, delta = mean_b - mean;
    mean += delta * share;
    m2 += m2_b + delta * delta * n * share;
    n = total;
  };
  for (int b = threadIdx.x % 32; b < gridDim.x; b += 32) {
    float2 held = __ldcg(slices + b);
    merge(4.0f * (float)max(0, min(slice, n4 - b * slice)), held.x, held.y);
  }
  for (int offset = 16; offset > 0; offset >>= 1) {
    float n_b = __shfl_down_sync(0xffffffffu, n, offset);
    float mean_b = __shfl_down_sync(0xffffffffu, mean, offset);
    float m2_b = __shfl_down_sync(0xffffffffu, m2, offset);
    merge(n_b, mean_b, m2_b);
  }
  return make_float2(mean, m2 / n);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
layernorm_persistent(const float4* __restrict__ x, const float4* __restrict__ weight,
                     const float4* __restrict__ bias, float4* __restrict__ y, float2* slices,
                     int rows, int n4, float eps) {
  extern __shared__ float4 held[];  // a thread reads back only what it wrote itself
  __shared__ float warps[32];
  __shared__ float2 stat;
  cg::grid_group grid = cg::this_grid();
  const int slice = (n4 + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * slice;
  const int size = max(0, min(slice, n4 - begin));
  float4 next[PER_THREAD];
  load(next, x + begin, size);
  for (int row = 0; row < rows; ++row) {
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int j = 0; j < PER_THREAD; ++j) {
      held[threadIdx.x + j * THREADS] = next[j];
      sum += sum4(next[j]);
    }
    float mean = block_sum(sum, warps) / fmaxf(1.0f, 4.0f * (float)size);
#pragma unroll
    for (int j = 0; j < PER_THREAD; ++j)
      if (threadIdx.x + j * THREADS < size) squares += squares4(next[j], mean);
    squares = block_sum(squares, warps);
    // Two sets of slots take turns: a block may write the next row's while another still reads this one's.
    float2* slots = slices + (row % 2) * gridDim.x;
    if (threadIdx.x == 0) slots[blockIdx.x] = make_float2(mean, squares);
    // The first warp arrives at the barrier for its block, and its fence would wait for its own loads.
    const float4* following = x + (long long)(row + 1) * n4 + begin;
    if (row + 1 < rows && threadIdx.x >= 32) load(next, following, size);
    grid.sync();
    if (threadIdx.x < 32) {
      if (row + 1 < rows) load(next, following, size);
      float2 all = row_moments(slots, slice, n4);
      if (threadIdx.x == 0) stat = make_float2(all.x, rsqrtf(all.y + eps));
    }
    __syncthreads();
    float2 s = stat;
    float4* to = y + (long long)row * n4 + begin;
#pragma unroll 4
    for (int j = 0; j < PER_THREAD; ++j) {
      int i = threadIdx.x + j * THREADS;
      if (i < size) {
        float4 v = held[i], w = __ldg(weight + begin + i), b = __ldg(bias + begin + i);
        v.x = (v.x - s.x) * s.y * w.x + b.x;
        v.y = (v.y - s.x) * s.y * w.y + b.y;
        v.z = (v.z - s.x) * s.y * w.z + b.z;
        v.w = (v.w - s.x) * s.y * w.w + b.w;
        __stcs(to + i, v);
      }
    }
  }
}
"""


def plan(k, x):
    rows = x.shape[0]
    n4 = x.numel() // rows // 4
    blocks = k.device.sm_count
    assert k.cdiv(n4, blocks) <= 8 * 1024, "a block's slice must fit its threads' registers"
    slices = k.view(k.scratch(2 * blocks * 8), 0, "float32", (2 * blocks, 2))
    y = k.empty_like(x)
    k.launch(
        "layernorm_persistent",
        grid=(blocks,),
        block=(1024,),
        args=[x, k.param("ln.weight"), k.param("ln.bias"), y, slices, rows, n4, 1e-5],
        shared_bytes=16 * 8 * 1024,
        cooperative=True,
    )
    return y
