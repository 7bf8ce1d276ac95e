"""ReLU through shared memory filled by asynchronous copies."""

LANGUAGE = "cuda"
SOURCE = r"""
#include <cuda_pipeline.h>
extern "C" __global__ void relu(const float4* x, float4* y) {
  __shared__ float4 tile[128];
  const int i = blockIdx.x * 128 + threadIdx.x;
  __pipeline_memcpy_async(&tile[threadIdx.x], &x[i], sizeof(float4));
  __pipeline_commit();
  __pipeline_wait_prior(0);
  float4 v = tile[threadIdx.x];
  v.x = v.x < 0 ? 0 : v.x; v.y = v.y < 0 ? 0 : v.y; v.z = v.z < 0 ? 0 : v.z; v.w = v.w < 0 ? 0 : v.w;
  y[i] = v;
}
"""


def plan(k, x):
    y = k.empty_like(x)
    k.launch("relu", grid=(x.numel() // 512,), block=(128,), args=[x, y])
    return y
