"""Three-tap stencil with its weights in constant memory."""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
__constant__ float weights[3];

__global__ void stencil_kernel(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float s = weights[1] * x[i];
    if (i > 0) s += weights[0] * x[i - 1];
    if (i + 1 < n) s += weights[2] * x[i + 1];
    y[i] = s;
}

torch::Tensor stencil(torch::Tensor x, std::vector<double> taps) {
    float host[3] = {(float)taps[0], (float)taps[1], (float)taps[2]};
    cudaMemcpyToSymbol(weights, host, sizeof(host));
    auto y = torch::empty_like(x);
    int n = x.numel();
    stencil_kernel<<<(n + 255) / 256, 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), n);
    return y;
}
"""

cpp_source = r"""torch::Tensor stencil(torch::Tensor x, std::vector<double> taps);"""

extension = load_inline(
    name="constant_memory",
    cpp_sources=cpp_source,
    cuda_sources=cuda_source,
    functions=["stencil"],
    verbose=True,
)


class ModelNew(nn.Module):
    def forward(self, x):
        return extension.stencil(x, [0.25, 0.5, 0.25])


def get_inputs():
    return [torch.randn(1000)]


def reference(x):
    taps = torch.tensor([[[0.25, 0.5, 0.25]]], device=x.device)
    return torch.nn.functional.conv1d(x[None, None], taps, padding=1)[0, 0]
