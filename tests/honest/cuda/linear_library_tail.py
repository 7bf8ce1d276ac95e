"""Library product, own kernel for bias and ReLU with a constant table of one value."""

LANGUAGE = "cuda"
SOURCE = r"""
__constant__ float least[1] = {0.0f};
extern "C" __global__ void tail(const float* y, const float* bias, float* out, int n) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  out[i] = fmaxf(y[i] + bias[i % n], least[0]);
}
"""


def plan(k, x):
    y = k.op("linear", x, k.param("gemm.weight"))
    out = k.empty_like(y)
    k.launch("tail", grid=(y.numel() // 256,), block=(256,), args=[y, k.param("bias"), out, y.shape[1]])
    return out
