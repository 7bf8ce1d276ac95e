// Kernels of known access patterns in shared memory.
#define INDEX (blockIdx.x * blockDim.x + threadIdx.x)
#define TRANSPOSE(name, width, column)                                              \
  extern "C" __global__ void name(const float* x, float* y, int n) {                \
    __shared__ float t[32][width];                                                  \
    const int tx = threadIdx.x;                                                     \
    for (int r = threadIdx.y; r < 32; r += 8)                                       \
      t[r][column(r, tx)] = x[(blockIdx.y * 32 + r) * n + blockIdx.x * 32 + tx];    \
    __syncthreads();                                                                \
    for (int r = threadIdx.y; r < 32; r += 8)                                       \
      y[(blockIdx.x * 32 + r) * n + blockIdx.y * 32 + tx] = t[tx][column(tx, r)];   \
  }
#define PLAIN(r, c) (c)
#define SWIZZLED(r, c) ((r) ^ (c))
TRANSPOSE(transpose_conflict, 32, PLAIN)
TRANSPOSE(transpose_padded, 33, PLAIN)
TRANSPOSE(transpose_swizzled, 32, SWIZZLED)

extern "C" __global__ void shared_stride_two(const float* x, float* y) {
  __shared__ float t[512];
  t[threadIdx.x] = x[INDEX];
  __syncthreads();
  y[INDEX] = t[2 * threadIdx.x % 512];
}

extern "C" __global__ void shared_broadcast(const float* x, float* y) {
  __shared__ float t[256];
  t[threadIdx.x] = x[INDEX];
  __syncthreads();
  float s = 0.0f;
  for (int k = 0; k < 256; ++k) s += t[k];
  y[INDEX] = s;
}

extern "C" __global__ void shared_float4(const float4* x, float4* y) {
  __shared__ float4 t[256];
  t[threadIdx.x] = x[INDEX];
  __syncthreads();
  y[INDEX] = t[threadIdx.x ^ 1];
}

extern "C" __global__ void sum_interleaved(const float* x, float* y) {
  __shared__ float t[256];
  t[threadIdx.x] = x[INDEX];
  for (int s = 1; s < 256; s *= 2) {
    __syncthreads();
    const int i = 2 * s * threadIdx.x;
    if (i < 256) t[i] += t[i + s];
  }
  if (threadIdx.x == 0) y[blockIdx.x] = t[0];
}

extern "C" __global__ void sum_sequential(const float* x, float* y) {
  __shared__ float t[256];
  t[threadIdx.x] = x[INDEX];
  for (int s = 128; s > 0; s >>= 1) {
    __syncthreads();
    if (threadIdx.x < s) t[threadIdx.x] += t[threadIdx.x + s];
  }
  if (threadIdx.x == 0) y[blockIdx.x] = t[0];
}

extern "C" __global__ void histogram(const int* x, int* y) {
  __shared__ int bins[256];
  bins[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&bins[x[INDEX] & 255], 1);
  __syncthreads();
  atomicAdd(&y[threadIdx.x], bins[threadIdx.x]);
}

extern "C" __global__ void async_copy(const float4* x, float4* y) {
  __shared__ float4 t[256];
  const unsigned to = (unsigned)__cvta_generic_to_shared(&t[threadIdx.x]);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + INDEX));
  asm volatile("cp.async.commit_group;");
  asm volatile("cp.async.wait_group 0;");
  __syncthreads();
  y[INDEX] = t[255 - threadIdx.x];
}

extern "C" __global__ void much_shared(const float* x, float* y) {
  __shared__ float t[10240];
  for (int i = threadIdx.x; i < 10240; i += blockDim.x) t[i] = x[blockIdx.x * 10240 + i];
  __syncthreads();
  for (int i = threadIdx.x; i < 10240; i += blockDim.x) y[blockIdx.x * 10240 + i] = t[10239 - i];
}

extern "C" __global__ void dynamic_shared(const float* x, float* y) {
  extern __shared__ float t[];
  t[threadIdx.x] = x[INDEX];
  __syncthreads();
  y[INDEX] = t[(threadIdx.x + 32) % blockDim.x];
}
