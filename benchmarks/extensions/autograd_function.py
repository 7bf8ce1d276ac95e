"""A differentiable square with a C++ autograd function: only the full headers hold that."""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>

__global__ void square_kernel(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * x[i];
}

struct Square : public torch::autograd::Function<Square> {
    static torch::Tensor forward(torch::autograd::AutogradContext* ctx, torch::Tensor x) {
        ctx->save_for_backward({x});
        auto y = torch::empty_like(x);
        square_kernel<<<(x.numel() + 255) / 256, 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), x.numel());
        return y;
    }
    static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* ctx, torch::autograd::tensor_list g) {
        return {2 * ctx->get_saved_variables()[0] * g[0]};
    }
};
torch::Tensor square(torch::Tensor x) { return Square::apply(x); }
"""

cpp_source = r"""torch::Tensor square(torch::Tensor x);"""

extension = load_inline(
    name="autograd_function",
    cpp_sources=cpp_source,
    cuda_sources=cuda_source,
    functions=["square"],
    verbose=True,
)


class ModelNew(nn.Module):
    def forward(self, x):
        return extension.square(x)


def get_inputs():
    return [torch.randn(100)]


def reference(x):
    return x * x
