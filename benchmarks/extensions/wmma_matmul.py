"""Matrix product on tensor cores: half operands, float sums."""

import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;

__global__ void wmma_kernel(const half* a, const half* b, float* c, int M, int N, int K) {
    int row = blockIdx.y * 16, col = blockIdx.x * 16;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc;
    wmma::fill_fragment(fc, 0.0f);
    for (int k = 0; k < K; k += 16) {
        wmma::load_matrix_sync(fa, a + row * K + k, K);
        wmma::load_matrix_sync(fb, b + k * N + col, N);
        wmma::mma_sync(fc, fa, fb, fc);
    }
    wmma::store_matrix_sync(c + row * N + col, fc, N, wmma::mem_row_major);
}

torch::Tensor wmma_matmul(torch::Tensor a, torch::Tensor b) {
    auto ah = a.to(torch::kFloat16), bh = b.to(torch::kFloat16);
    int M = a.size(0), K = a.size(1), N = b.size(1);
    auto c = torch::empty({M, N}, a.options());
    wmma_kernel<<<dim3(N / 16, M / 16), 32>>>((const half*)ah.data_ptr(), (const half*)bh.data_ptr(), c.data_ptr<float>(), M, N, K);
    return c;
}
"""

cpp_source = r"""torch::Tensor wmma_matmul(torch::Tensor a, torch::Tensor b);"""

extension = load_inline(
    name="wmma_matmul",
    cpp_sources=cpp_source,
    cuda_sources=cuda_source,
    functions=["wmma_matmul"],
    verbose=True,
)


class ModelNew(nn.Module):
    def forward(self, a, b):
        return extension.wmma_matmul(a, b)


def get_inputs():
    return [torch.randn(64, 128).half().float(), torch.randn(128, 96).half().float()]


def reference(a, b):
    return a @ b
