"""kb/L1/23: the blocks of a cluster share a row and read each other's maximum and sum in shared memory."""

LANGUAGE = "cuda"
SOURCE = r"""
#include <cooperative_groups.h>
namespace cg = cooperative_groups;

__device__ __forceinline__ float block_max(float v, float* warps) {
  for (int offset = 16; offset > 0; offset >>= 1) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  for (int w = 0; w < 4; ++w) v = fmaxf(v, warps[w]);
  __syncthreads();
  return v;
}

__device__ __forceinline__ float block_sum(float v, float* warps) {
  for (int offset = 16; offset > 0; offset >>= 1) v += __shfl_xor_sync(0xffffffffu, v, offset);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  return (warps[0] + warps[1]) + (warps[2] + warps[3]);
}

extern "C" __global__ void __launch_bounds__(128)
softmax_cluster(const float4* __restrict__ x, float4* __restrict__ y, int n4) {
  __shared__ float warps[4];
  __shared__ float2 mine;  // this block's maximum, and its sum of exponentials relative to that
  cg::cluster_group cluster = cg::this_cluster();
  int blocks = cluster.num_blocks(), part = n4 / blocks, row = blockIdx.x / blocks;
  long long begin = (long long)row * n4 + cluster.block_rank() * part;
  float top = -3.0e38f, sum = 0.0f;
  for (int i = threadIdx.x; i < part; i += 128) {
    float4 v = x[begin + i];
    top = fmaxf(top, fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w)));
  }
  top = block_max(top, warps);
  for (int i = threadIdx.x; i < part; i += 128) {
    float4 v = x[begin + i];
    sum += (expf(v.x - top) + expf(v.y - top)) + (expf(v.z - top) + expf(v.w - top));
  }
  sum = block_sum(sum, warps);
  if (threadIdx.x == 0) mine = make_float2(top, sum);
  cluster.sync();
  top = -3.0e38f, sum = 0.0f;
  for (int b = 0; b < blocks; ++b) top = fmaxf(top, cluster.map_shared_rank(&mine, b)->x);
  for (int b = 0; b < blocks; ++b) {
    float2 theirs = *cluster.map_shared_rank(&mine, b);
    sum += theirs.y * expf(theirs.x - top);
  }
  float scale = 1.0f / sum;
  for (int i = threadIdx.x; i < part; i += 128) {
    float4 v = x[begin + i];
    y[begin + i] = make_float4(expf(v.x - top) * scale, expf(v.y - top) * scale, expf(v.z - top) * scale,
                               expf(v.w - top) * scale);
  }
  cluster.sync();  // nobody leaves while a neighbour may still read its shared memory
}
"""
TUNE = {"CLUSTER": [4, 16]}


def plan(k, x):
    rows, columns = x.shape
    y = k.empty_like(x)
    k.launch(
        "softmax_cluster",
        grid=(rows * k.tune.CLUSTER,),
        block=(128,),
        args=[x, y, columns // 4],
        cluster=(k.tune.CLUSTER,),
        nonportable_cluster=k.tune.CLUSTER > 8,
    )
    return y
