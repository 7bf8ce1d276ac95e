"""kb/L1/40: 16 long rows, so each row is shared by many blocks; partial moments meet in scratch memory.

Moments are combined as (count, mean, sum of squared deviations), which loses nothing to cancellation. The
second stage walks columns from the end: what the first read last is still in L2.
"""

LANGUAGE = "cuda"
SOURCE = r"""
struct Moments { float n, mean, m2; };

__device__ __forceinline__ void merge(Moments& a, float n, float mean, float m2) {
  float total = a.n + n;
  if (total == 0.0f) return;
  float share = n / total, delta = mean - a.mean;
  a.mean += delta * share;
  a.m2 += m2 + delta * delta * a.n * share;
  a.n = total;
}

__device__ __forceinline__ void merge_warp(Moments& a) {
  for (int offset = 16; offset > 0; offset >>= 1) {
    float n = __shfl_down_sync(0xffffffffu, a.n, offset);
    float mean = __shfl_down_sync(0xffffffffu, a.mean, offset);
    float m2 = __shfl_down_sync(0xffffffffu, a.m2, offset);
    merge(a, n, mean, m2);
  }
}

__device__ __forceinline__ float sum4(float4 v) { return (v.x + v.y) + (v.z + v.w); }

__device__ __forceinline__ float squares4(float4 v, float mean) {
  float a = v.x - mean, b = v.y - mean, c = v.z - mean, d = v.w - mean;
  return (a * a + b * b) + (c * c + d * d);
}

// Block (row, part): rows change fastest, so that the last parts of all rows are what L2 holds at the end.
extern "C" __global__ void __launch_bounds__(256)
partial_moments(const float4* __restrict__ x, float* __restrict__ means, float* __restrict__ m2s,
                long long n4, long long part4) {
  long long row = blockIdx.x, begin = blockIdx.y * part4;
  long long end = begin + part4 < n4 ? begin + part4 : n4;
  const float4* from = x + row * n4;
  Moments mine = {0.0f, 0.0f, 0.0f};
  long long i = begin + threadIdx.x;
  for (; i + 3 * 256 < end; i += 4 * 256) {
    float4 v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = from[i + j * 256];
    float mean = ((sum4(v[0]) + sum4(v[1])) + (sum4(v[2]) + sum4(v[3]))) * 0.0625f;
    float m2 = (squares4(v[0], mean) + squares4(v[1], mean)) + (squares4(v[2], mean) + squares4(v[3], mean));
    merge(mine, 16.0f, mean, m2);
  }
  for (; i < end; i += 256) {
    float4 v = from[i];
    float mean = sum4(v) * 0.25f;
    merge(mine, 4.0f, mean, squares4(v, mean));
  }
  merge_warp(mine);
  __shared__ Moments warps[8];
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < 8; ++w) merge(mine, warps[w].n, warps[w].mean, warps[w].m2);
    means[row * gridDim.y + blockIdx.y] = mine.mean;
    m2s[row * gridDim.y + blockIdx.y] = mine.m2;
  }
}

extern "C" __global__ void __launch_bounds__(512)
normalise(const float4* __restrict__ x, const float* __restrict__ means, const float* __restrict__ m2s,
          const float4* __restrict__ weight, const float4* __restrict__ bias, float4* __restrict__ y,
          int rows, int parts, long long n4, long long part4, float eps) {
  extern __shared__ float2 stats[];  // per row: mean and reciprocal of the standard deviation
  for (int row = threadIdx.x / 32; row < rows; row += 16) {
    Moments all = {0.0f, 0.0f, 0.0f};
    for (int p = threadIdx.x % 32; p < parts; p += 32) {
      long long left = n4 - p * part4;
      float n = left <= 0 ? 0.0f : 4.0f * (float)(left < part4 ? left : part4);
      merge(all, n, means[row * parts + p], m2s[row * parts + p]);
    }
    merge_warp(all);
    if (threadIdx.x % 32 == 0) stats[row] = make_float2(all.mean, rsqrtf(all.m2 / all.n + eps));
  }
  __syncthreads();
  long long step = (long long)gridDim.x * 512;
  for (long long i = n4 - 1 - (blockIdx.x * 512LL + threadIdx.x); i >= 0; i -= step) {
    float4 w = __ldcs(weight + i), b = __ldcs(bias + i);
#pragma unroll 8
    for (int row = 0; row < rows; ++row) {
      float4 v = __ldcs(x + row * n4 + i);
      float2 s = stats[row];
      v.x = (v.x - s.x) * s.y * w.x + b.x;
      v.y = (v.y - s.x) * s.y * w.y + b.y;
      v.z = (v.z - s.x) * s.y * w.z + b.z;
      v.w = (v.w - s.x) * s.y * w.w + b.w;
      __stcs(y + row * n4 + i, v);
    }
  }
}
"""
TUNE = {"PARTS": [128, 64, 256]}


def plan(k, x):
    rows = x.shape[0]
    n4 = x.numel() // rows // 4
    parts = min(k.tune.PARTS, k.cdiv(n4, 256))
    part4 = k.cdiv(n4, parts)
    workspace = k.scratch(2 * rows * parts * 4)
    means = k.view(workspace, 0, "float32", (rows, parts))
    m2s = k.view(workspace, rows * parts, "float32", (rows, parts))
    y = k.empty_like(x)
    k.launch("partial_moments", grid=(rows, parts), block=(256, 1), args=[x, means, m2s, n4, part4])
    k.launch(
        "normalise",
        grid=(min(k.cdiv(n4, 512), 4 * k.device.sm_count),),
        block=(512,),
        args=[
            x,
            means,
            m2s,
            k.param("ln.weight"),
            k.param("ln.bias"),
            y,
            rows,
            parts,
            n4,
            part4,
            1e-5,
        ],
        shared_bytes=8 * rows,
    )
    return y
