"""ReLU by a grid-stride loop with a launch that is too small on purpose."""

LANGUAGE = "cuda"
SOURCE = r"""
extern "C" __global__ void relu(const float* x, float* y, long long n) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)
    y[i] = x[i] < 0 ? 0.f : x[i];
}
"""


def plan(k, x):
    y = k.empty_like(x)
    k.launch("relu", grid=(k.device.sm_count * 2,), block=(512,), args=[x, y, x.numel()])
    return y
