"""Candidates and a task for exports."""

from __future__ import annotations

_HEAD = """LANGUAGE = "sycl"
SOURCE = r'''
#include <sycl/sycl.hpp>
namespace sx = sycl::ext::oneapi;
#define KERNEL extern "C" SYCL_EXT_ONEAPI_FUNCTION_PROPERTY((sx::experimental::nd_range_kernel<1>)) void

"""

RELU = (
    _HEAD
    + """KERNEL relu(const float* x, float* y, long n) {
  auto it = sx::this_work_item::get_nd_item<1>();
  for (long i = it.get_global_id(0); i < n; i += it.get_global_range(0)) y[i] = sycl::fmax(x[i], 0.0f);
}
'''


def plan(k, x):
    y = k.empty_like(x)
    k.launch("relu", grid=(64,), block=(64,), args=[x, y, x.numel()])
    return y
"""
)

INSTANCE_NORM = (
    _HEAD
    + """KERNEL instance_norm_divide(const float* x, float* y, int n, float eps, float divisor) {
  auto it = sx::this_work_item::get_nd_item<1>();
  auto group = it.get_group();
  const float* row = x + size_t(it.get_group(0)) * n;
  float* out = y + size_t(it.get_group(0)) * n;
  float sum = 0.0f, squares = 0.0f;
  for (int i = it.get_local_id(0); i < n; i += 64) sum += row[i];
  const float mean = sycl::reduce_over_group(group, sum, sycl::plus<float>()) / n;
  for (int i = it.get_local_id(0); i < n; i += 64) squares += (row[i] - mean) * (row[i] - mean);
  const float variance = sycl::reduce_over_group(group, squares, sycl::plus<float>()) / n;
  const float scale = sycl::rsqrt(variance + eps) / divisor;
  for (int i = it.get_local_id(0); i < n; i += 64) out[i] = (row[i] - mean) * scale;
}
'''


def plan(k, x):
    y = k.op("conv2d", x, k.param("conv.weight"), k.param("conv.bias"))
    out = k.empty_like(y)
    k.launch(
        "instance_norm_divide",
        grid=(y.shape[0] * y.shape[1],),
        block=(64,),
        args=[y, out, y.shape[2] * y.shape[3], 1e-5, k.f32(k.init("divide_by"))],
    )
    return out
"""
)

# Sums rows through local memory into a buffer of zeros, and doubles the input: two outputs, two launches.
LOCAL_SUM = (
    _HEAD
    + """KERNEL add_rows(const float* x, float* sums, int n, sycl::local_accessor<float, 1> part) {
  auto it = sx::this_work_item::get_nd_item<1>();
  const int l = it.get_local_id(0);
  part[l] = 0.0f;
  for (int i = l; i < n; i += 32) part[l] += x[it.get_group(0) * size_t(n) + i];
  sycl::group_barrier(it.get_group());
  if (l == 0)
    for (int i = 0; i < 32; ++i) sums[it.get_group(0)] += part[i];
}

KERNEL twice(const float* x, float* y) {
  const size_t i = sx::this_work_item::get_nd_item<1>().get_global_id(0);
  y[i] = 2.0f * x[i];
}
'''


def plan(k, x):
    rows, n = x.shape
    sums, y = k.zeros((rows,)), k.empty_like(x)
    k.launch("add_rows", grid=(rows,), block=(32,), args=[x, sums, n, k.local("float32", 32)])
    k.launch("twice", grid=(rows * n // 64,), block=(64,), args=[x, y])
    return sums, y
"""
)

TASK = '''"""kb/L2/17 in small."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, divide_by):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.instance_norm = nn.InstanceNorm2d(out_channels)
        self.divide_by = divide_by

    def forward(self, x):
        return self.instance_norm(self.conv(x)) / self.divide_by


def get_inputs():
    return [torch.rand(4, 4, 12, 12)]


def get_init_inputs():
    return [4, 8, 3, 2.0]
'''
