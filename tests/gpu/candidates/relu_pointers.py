"""kb/L1/19: the tensor in parts, whose addresses the kernel finds in arrays of pointers."""

LANGUAGE = "cuda"
SOURCE = r"""
__device__ __forceinline__ float relu(float v) { return v < 0.0f ? 0.0f : v; }

extern "C" __global__ void __launch_bounds__(256)
relu_parts(const float4* const* from, float4* const* to, int n4) {
  const float4* x = from[blockIdx.y];
  float4* y = to[blockIdx.y];
  for (int i = blockIdx.x * 256 + threadIdx.x; i < n4; i += gridDim.x * 256) {
    float4 v = x[i];
    y[i] = make_float4(relu(v.x), relu(v.y), relu(v.z), relu(v.w));
  }
}
"""
TUNE = {"PARTS": [4, 16]}


def plan(k, x):
    y = k.empty_like(x)
    parts = k.tune.PARTS
    n = x.numel() // parts

    def cut(t):
        return [k.view(t, i * n, "float32", (n,)) for i in range(parts)]

    k.launch(
        "relu_parts",
        grid=(min(k.cdiv(n // 4, 256), 1024), parts),
        block=(256, 1),
        args=[k.pointers(cut(x)), k.pointers(cut(y)), n // 4],
    )
    return y
