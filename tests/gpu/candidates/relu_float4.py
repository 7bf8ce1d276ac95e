"""kb/L1/19: four independent 16-byte loads per thread; nothing is read twice, so it streams past L2."""

LANGUAGE = "cuda"
SOURCE = r"""
__device__ __forceinline__ float relu(float v) { return v < 0.0f ? 0.0f : v; }  // keeps NaN, as torch does

__device__ __forceinline__ float4 relu4(float4 v) {
  return make_float4(relu(v.x), relu(v.y), relu(v.z), relu(v.w));
}

extern "C" __global__ void __launch_bounds__(BLOCK)
relu_float4(const float4* __restrict__ x, float4* __restrict__ y, long long n4) {
  long long first = (long long)blockIdx.x * (BLOCK * PER_THREAD) + threadIdx.x;
  if (first + (PER_THREAD - 1) * BLOCK < n4) {
    float4 held[PER_THREAD];
#pragma unroll
    for (int j = 0; j < PER_THREAD; ++j) held[j] = __ldcs(x + first + j * BLOCK);
#pragma unroll
    for (int j = 0; j < PER_THREAD; ++j) __stcs(y + first + j * BLOCK, relu4(held[j]));
  } else {
    for (int j = 0; j < PER_THREAD; ++j)
      if (first + j * BLOCK < n4) y[first + j * BLOCK] = relu4(x[first + j * BLOCK]);
  }
}
"""
TUNE = {"BLOCK": [256, 512], "PER_THREAD": [4, 2, 8]}


def plan(k, x):
    y = k.empty_like(x)
    n4 = x.numel() // 4
    k.launch(
        "relu_float4",
        grid=(k.cdiv(n4, k.tune.BLOCK * k.tune.PER_THREAD),),
        block=(k.tune.BLOCK,),
        args=[x, y, n4],
    )
    return y
