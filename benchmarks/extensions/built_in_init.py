"""The text depends on the model's size, so it is known only when the model is made."""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline


def source(features):
    return """
#include <torch/extension.h>
constexpr int FEATURES = %d;

__global__ void scale_kernel(const float* x, const float* w, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * w[i %% FEATURES];
}

torch::Tensor scale(torch::Tensor x, torch::Tensor w) {
    auto y = torch::empty_like(x);
    scale_kernel<<<(x.numel() + 255) / 256, 256>>>(x.data_ptr<float>(), w.data_ptr<float>(), y.data_ptr<float>(),
                                                   x.numel());
    return y;
}
""" % features


class ModelNew(nn.Module):
    def __init__(self, features=96):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.extension = load_inline(
            name=f"scale_{features}",
            cpp_sources="torch::Tensor scale(torch::Tensor x, torch::Tensor w);",
            cuda_sources=source(features),
            functions=["scale"],
        )

    def forward(self, x):
        return self.extension.scale(x, self.weight)


def get_inputs():
    return [torch.randn(50, 96)]


def reference(x):
    return x
