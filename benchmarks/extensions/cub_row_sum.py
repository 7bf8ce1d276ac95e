"""Sum over the last dimension with CUB's block reduction."""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
#include <cub/cub.cuh>

template <int BLOCK>
__global__ void row_sum_kernel(const float* x, float* y, int d) {
    using Reduce = cub::BlockReduce<float, BLOCK>;
    __shared__ typename Reduce::TempStorage storage;
    float sum = 0.f;
    for (int i = threadIdx.x; i < d; i += BLOCK) sum += x[(size_t)blockIdx.x * d + i];
    sum = Reduce(storage).Sum(sum);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

torch::Tensor row_sum(torch::Tensor x) {
    auto y = torch::empty({x.size(0)}, x.options());
    row_sum_kernel<128><<<x.size(0), 128>>>(x.data_ptr<float>(), y.data_ptr<float>(), x.size(1));
    return y;
}
"""

cpp_source = r"""torch::Tensor row_sum(torch::Tensor x);"""

extension = load_inline(
    name="cub_row_sum",
    cpp_sources=cpp_source,
    cuda_sources=cuda_source,
    functions=["row_sum"],
    verbose=True,
)


class ModelNew(nn.Module):
    def forward(self, x):
        return extension.row_sum(x)


def get_inputs():
    return [torch.randn(40, 777)]


def reference(x):
    return x.sum(dim=1)
