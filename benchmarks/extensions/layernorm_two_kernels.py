"""Layer norm: statistics, then the normalisation, on the current stream."""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

__global__ void stats_kernel(const float* x, float* mean, float* rstd, int d, float eps) {
    __shared__ float s1[256];
    __shared__ float s2[256];
    const float* row = x + (size_t)blockIdx.x * d;
    float a = 0.f, b = 0.f;
    for (int i = threadIdx.x; i < d; i += blockDim.x) { a += row[i]; b += row[i] * row[i]; }
    s1[threadIdx.x] = a; s2[threadIdx.x] = b;
    __syncthreads();
    for (int s = blockDim.x / 2; s > 0; s >>= 1) {
        if (threadIdx.x < s) { s1[threadIdx.x] += s1[threadIdx.x + s]; s2[threadIdx.x] += s2[threadIdx.x + s]; }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        const float m = s1[0] / d;
        mean[blockIdx.x] = m;
        rstd[blockIdx.x] = rsqrtf(s2[0] / d - m * m + eps);
    }
}

__global__ void apply_kernel(const float* x, const float* mean, const float* rstd, const float* w, const float* b,
                             float* y, int rows, int d) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * d) y[i] = (x[i] - mean[i / d]) * rstd[i / d] * w[i % d] + b[i % d];
}

torch::Tensor layer_norm(torch::Tensor x, torch::Tensor weight, torch::Tensor bias, double eps) {
    const int d = x.size(-1), rows = x.numel() / d;
    auto mean = torch::empty({rows}, x.options());
    auto rstd = at::empty({rows}, x.options().dtype(torch::kFloat32));
    auto y = torch::empty_like(x);
    cudaStream_t stream = at::cuda::getCurrentCUDAStream();
    stats_kernel<<<rows, 256, 0, stream>>>(x.data_ptr<float>(), mean.data_ptr<float>(), rstd.data_ptr<float>(), d, (float)eps);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    apply_kernel<<<(rows * d + 255) / 256, 256, 0, stream>>>(x.data_ptr<float>(), mean.data_ptr<float>(),
        rstd.data_ptr<float>(), weight.data_ptr<float>(), bias.data_ptr<float>(), y.data_ptr<float>(), rows, d);
    AT_CUDA_CHECK(cudaGetLastError());
    return y;
}
"""

cpp_source = r"""torch::Tensor layer_norm(torch::Tensor x, torch::Tensor weight, torch::Tensor bias, double eps);"""

extension = load_inline(
    name="layernorm_two_kernels",
    cpp_sources=cpp_source,
    cuda_sources=cuda_source,
    functions=["layer_norm"],
    verbose=True,
)


class ModelNew(nn.Module):
    def __init__(self, features=256):
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        return extension.layer_norm(x.contiguous(), self.norm.weight, self.norm.bias, self.norm.eps)


def get_inputs():
    return [torch.randn(64, 256)]


def reference(x):
    return torch.nn.functional.layer_norm(x, (256,))
