"""kb/L1/19: everything that the kernel is told comes in one struct by value, pointers included."""

LANGUAGE = "cuda"
SOURCE = r"""
struct Job {
  const float4* from;
  float4* to;
  long long n4;
  float least;
  bool reversed;
};

__device__ __forceinline__ float at_least(float least, float v) { return v < least ? least : v; }

extern "C" __global__ void __launch_bounds__(256)
relu_struct(const Job job) {
  long long i = (long long)blockIdx.x * 256 + threadIdx.x;
  if (i >= job.n4) return;
  if (job.reversed) i = job.n4 - 1 - i;
  float4 v = job.from[i];
  job.to[i] = make_float4(at_least(job.least, v.x), at_least(job.least, v.y), at_least(job.least, v.z),
                          at_least(job.least, v.w));
}
"""


def plan(k, x):
    y = k.empty_like(x)
    n4 = x.numel() // 4
    job = k.struct(x, y, k.i64(n4), k.f32(0.0), k.b8(True))
    k.launch("relu_struct", grid=(k.cdiv(n4, 256),), block=(256,), args=[job])
    return y
