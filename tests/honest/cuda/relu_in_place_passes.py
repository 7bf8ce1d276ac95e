"""A copy, then three passes in place over thirds of the output."""

LANGUAGE = "cuda"
SOURCE = r"""
extern "C" __global__ void clear(float* y, int from, int to) {
  const int i = from + blockIdx.x * 256 + threadIdx.x;
  if (i < to && y[i] < 0) y[i] = 0;
}
"""


def plan(k, x):
    y = k.empty_like(x)
    k.copy(y, x)
    n = x.numel()
    bounds = [0, n // 3, 2 * n // 3, n]
    for start, stop in zip(bounds, bounds[1:]):
        k.launch("clear", grid=(k.cdiv(stop - start, 256),), block=(256,), args=[y, start, stop])
    return y
