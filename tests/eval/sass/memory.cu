// Kernels of known access patterns in global memory. Pointers are __restrict__ only where a test needs it.
#define INDEX (blockIdx.x * blockDim.x + threadIdx.x)

extern "C" __global__ void copy_scalar(const float* x, float* y) { y[INDEX] = x[INDEX]; }

extern "C" __global__ void copy_float2(const float2* x, float2* y) { y[INDEX] = x[INDEX]; }

extern "C" __global__ void copy_float4(const float4* x, float4* y) { y[INDEX] = x[INDEX]; }

extern "C" __global__ void copy_half(const unsigned short* x, unsigned short* y) { y[INDEX] = x[INDEX]; }

extern "C" __global__ void copy_byte(const unsigned char* x, unsigned char* y) { y[INDEX] = x[INDEX]; }

extern "C" __global__ void grid_stride(const float* x, float* y, int n) {
  for (int i = INDEX; i < n; i += gridDim.x * blockDim.x) y[i] = fmaxf(x[i], 0.0f);
}

extern "C" __global__ void four_in_flight(const float* x, float* y, int n) {
  for (int i = INDEX; i + 3 * 256 < n; i += gridDim.x * 1024) {
    float a = x[i], b = x[i + 256], c = x[i + 512], d = x[i + 768];
    y[i] = a + 1.0f;
    y[i + 256] = b + 1.0f;
    y[i + 512] = c + 1.0f;
    y[i + 768] = d + 1.0f;
  }
}

extern "C" __global__ void every_second(const float* x, float* y) { y[INDEX] = x[2 * INDEX]; }

extern "C" __global__ void both_of_a_pair(const float* x, float* y) {
  y[INDEX] = x[2 * INDEX] + x[2 * INDEX + 1];
}

extern "C" __global__ void struct_by_parts(const float* x, float* y) {
  const float* p = x + 4 * INDEX;
  y[INDEX] = p[0] + p[1] + p[2] + p[3];
}

extern "C" __global__ void column(const float* x, float* y, int n) {
  y[INDEX] = x[threadIdx.x * n + blockIdx.x];
}

extern "C" __global__ void row_per_thread(const float* x, float* y, int n) {
  float s = 0.0f;
  for (int k = 0; k < n; ++k) s += x[(size_t)INDEX * n + k];
  y[INDEX] = s;
}

extern "C" __global__ void row_per_block(const float* x, float* y, int n) {
  float s = 0.0f;
  for (int k = threadIdx.x; k < n; k += 256) s += x[(size_t)blockIdx.x * n + k];
  y[INDEX] = s;
}

extern "C" __global__ void stride_from_memory(const float* x, const int* n, float* y) {
  y[INDEX] = x[threadIdx.x * n[0]];
}

extern "C" __global__ void broadcast(const float* x, float* y) { y[INDEX] = x[blockIdx.x]; }

extern "C" __global__ void gather(const float* x, const int* at, float* y) { y[INDEX] = x[at[INDEX]]; }

extern "C" __global__ void shifted(const float* x, float* y) { y[INDEX] = x[INDEX + 1]; }

extern "C" __global__ void reversed(const float* x, float* y, int n) { y[INDEX] = x[n - 1 - INDEX]; }

extern "C" __global__ void transpose_naive(const float* x, float* y, int n) {
  const int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 8 + threadIdx.y;
  y[c * n + r] = x[r * n + c];
}

extern "C" __global__ void guarded(const float* x, float* y, int n) {
  const int i = INDEX;
  if (i < n) y[i] = x[i] * x[i + n];
}
