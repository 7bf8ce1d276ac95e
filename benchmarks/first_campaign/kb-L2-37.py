LANGUAGE = "cuda"
PRECISION = "tf32"
SOURCE = r'''
#include <cuda.h>
#include <cuda_fp16.h>
#include <stdint.h>

__device__ __forceinline__ uint32_t saddr(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void bar_init(uint32_t b, uint32_t n) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(b), "r"(n) : "memory");
}
__device__ __forceinline__ void bar_expect(uint32_t b, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(b), "r"(bytes) : "memory");
}
__device__ __forceinline__ void bar_wait(uint32_t b, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
        : "=r"(done) : "r"(b), "r"(parity) : "memory");
  } while (!done);
}
__device__ __forceinline__ void bar_arrive(uint32_t b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(b) : "memory");
}
__device__ __forceinline__ void bar_arrive_rank(uint32_t b, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 ra;\nmapa.shared::cluster.u32 ra, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [ra];\n}\n" ::"r"(b), "r"(rank) : "memory");
}
__device__ __forceinline__ void tma2_multi(uint32_t dst, const CUtensorMap* m, uint32_t b, int x, int y, unsigned short mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%4, %5}], [%2], %3;" ::"r"(dst),
      "l"(m), "r"(b), "h"(mask), "r"(x), "r"(y) : "memory");
}
__device__ __forceinline__ void cp16(uint32_t dst, const void* src) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
}
__device__ __forceinline__ void cp_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }
__device__ __forceinline__ void group_sync(int id) { asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory"); }
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
__device__ __forceinline__ void mma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void mma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void mma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
// K-major tile, rows of 128 bytes, 128-byte swizzle: 8 rows are 1024 bytes apart from the next 8.
__device__ __forceinline__ unsigned long long mma_desc(uint32_t a) {
  return (unsigned long long)((a & 0x3FFFFu) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}
template <int N> __device__ __forceinline__ void pin(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
__device__ __forceinline__ float ex2(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
__device__ __forceinline__ float rcp(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }

// swish(a) + ba, swish(b) + bb with one reciprocal. swish(-40) = -1.7e-16 stands for all below.
__device__ __forceinline__ void swish2(float& a, float& b, float ba, float bb) {
  const float ha = fmaxf(a, -40.0f), hb = fmaxf(b, -40.0f);
  const float da = 1.0f + ex2(ha * -1.4426950408889634f), db = 1.0f + ex2(hb * -1.4426950408889634f);
  const float r = rcp(da * db);  // at most 2^116: no overflow
  a = fmaf(ha, r * db, ba);
  b = fmaf(hb, r * da, bb);
}
__device__ __forceinline__ float quad_sum(float v) {
  v += __shfl_xor_sync(0xffffffffu, v, 1);
  return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

// Accumulators of one 64 x (64 * GROUPS) warpgroup tile to global memory. The rows of B were permuted so
// that a thread holds columns 16J + 4q .. + 3 of its two rows: d[8J + {0,1,4,5}] and d[8J + {2,3,6,7}].
// A group of 64 columns is four J of four lanes. prm: NPRM rows of COLS floats in shared memory.
template <int GROUPS, int COLS, bool SCALED, int ND>
__device__ __forceinline__ void epilogue(float (&d)[ND], const float* prm, int q, float s0, float s1, float* y0,
                                         float* y1, float eps) {
#pragma unroll
  for (int g = 0; g < GROUPS; ++g) {
    float sum0 = 0.0f, sum1 = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int J = 4 * g + i, c = 16 * J + 4 * q;
      const float4 b1 = *(const float4*)(prm + c), b2 = *(const float4*)(prm + COLS + c);
      float* v = d + 8 * J;
      if (SCALED) {
        const float4 w = *(const float4*)(prm + 4 * COLS + c);
        v[0] = fmaf(v[0] * s0, w.x, b1.x); v[1] = fmaf(v[1] * s0, w.y, b1.y);
        v[4] = fmaf(v[4] * s0, w.z, b1.z); v[5] = fmaf(v[5] * s0, w.w, b1.w);
        v[2] = fmaf(v[2] * s1, w.x, b1.x); v[3] = fmaf(v[3] * s1, w.y, b1.y);
        v[6] = fmaf(v[6] * s1, w.z, b1.z); v[7] = fmaf(v[7] * s1, w.w, b1.w);
      } else {
        v[0] += b1.x; v[1] += b1.y; v[4] += b1.z; v[5] += b1.w;
        v[2] += b1.x; v[3] += b1.y; v[6] += b1.z; v[7] += b1.w;
      }
      swish2(v[0], v[1], b2.x, b2.y);
      swish2(v[4], v[5], b2.z, b2.w);
      swish2(v[2], v[3], b2.x, b2.y);
      swish2(v[6], v[7], b2.z, b2.w);
      sum0 += (v[0] + v[1]) + (v[4] + v[5]);
      sum1 += (v[2] + v[3]) + (v[6] + v[7]);
    }
    const float m0 = quad_sum(sum0) * 0.015625f, m1 = quad_sum(sum1) * 0.015625f;
    float q0 = 0.0f, q1 = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float* v = d + 8 * (4 * g + i);
      v[0] -= m0; v[1] -= m0; v[4] -= m0; v[5] -= m0;
      v[2] -= m1; v[3] -= m1; v[6] -= m1; v[7] -= m1;
      q0 += fmaf(v[0], v[0], v[1] * v[1]) + fmaf(v[4], v[4], v[5] * v[5]);
      q1 += fmaf(v[2], v[2], v[3] * v[3]) + fmaf(v[6], v[6], v[7] * v[7]);
    }
    const float r0 = rsqrtf(fmaf(quad_sum(q0), 0.015625f, eps)), r1 = rsqrtf(fmaf(quad_sum(q1), 0.015625f, eps));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int J = 4 * g + i, c = 16 * J + 4 * q;
      const float4 ga = *(const float4*)(prm + 2 * COLS + c), be = *(const float4*)(prm + 3 * COLS + c);
      const float* v = d + 8 * J;
      __stcs((float4*)(y0 + c), make_float4(fmaf(v[0] * r0, ga.x, be.x), fmaf(v[1] * r0, ga.y, be.y),
                                            fmaf(v[4] * r0, ga.z, be.z), fmaf(v[5] * r0, ga.w, be.w)));
      __stcs((float4*)(y1 + c), make_float4(fmaf(v[2] * r1, ga.x, be.x), fmaf(v[3] * r1, ga.y, be.y),
                                            fmaf(v[6] * r1, ga.z, be.z), fmaf(v[7] * r1, ga.w, be.w)));
    }
  }
}

// Parameters of COLS columns from n0 on, asynchronously, by the 128 threads of a warpgroup.
template <int COLS, int NPRM>
__device__ __forceinline__ void fetch_params(uint32_t dst, const float* a, const float* b, const float* c, const float* d,
                                             const float* e, int n0, int tid) {
#pragma unroll
  for (int i = tid; i < NPRM * (COLS / 4); i += 128) {
    const int which = i / (COLS / 4), at = i % (COLS / 4);
    const float* src = which == 0 ? a : which == 1 ? b : which == 2 ? c : which == 3 ? d : e;
    cp16(dst + 16 * i, src + n0 + 4 * at);
  }
}

// Tile numbers of a cluster of four: rank 0's producer draws them from a counter and puts them into a ring of four in
// every block, so that no cluster depends on how many clusters are resident.
__device__ __forceinline__ void put_rank(uint32_t slot, uint32_t bar, uint32_t rank, int v) {
  asm volatile(
      "{\n.reg .b32 ra, rb;\nmapa.shared::cluster.u32 ra, %0, %2;\nmapa.shared::cluster.u32 rb, %1, %2;\n"
      "st.shared::cluster.u32 [ra], %3;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [rb];\n}\n" ::"r"(slot), "r"(bar), "r"(rank), "r"(v) : "memory");
}
__device__ __forceinline__ void bar_wait_cluster(uint32_t b, uint32_t parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
        : "=r"(done) : "r"(b), "r"(parity) : "memory");
  } while (!done);
}
// ring: 4 full barriers, 4 empty barriers (rank 0's are used), 4 numbers.
__device__ __forceinline__ void tile_push(uint32_t ring, int i, int v) {
  const uint32_t s = i & 3;
  bar_wait_cluster(ring + 32 + 8 * s, (((uint32_t)i >> 2) & 1u) ^ 1u);
#pragma unroll 1
  for (uint32_t r = 0; r < 4; ++r) put_rank(ring + 64 + 4 * s, ring + 8 * s, r, v);
}
__device__ __forceinline__ int tile_peek(uint32_t ring, int i) {
  const uint32_t s = i & 3;
  int v;
  bar_wait_cluster(ring + 8 * s, ((uint32_t)i >> 2) & 1u);
  asm volatile("ld.shared.s32 %0, [%1];" : "=r"(v) : "r"(ring + 64 + 4 * s) : "memory");
  return v;
}
__device__ __forceinline__ void tile_free(uint32_t ring, int i) { bar_arrive_rank(ring + 32 + 8 * (i & 3), 0); }

// One row of 1024 fp32 to fp16 times an exact power of two that brings the row's maximum into [2^14, 2^15); *scale is its
// inverse. fp16 and TF32 have the same 11-bit significand, so within 2^28 of the row's maximum this is TF32 rounding (to
// nearest), and what lies below is off by at most 2^-39 of the maximum. One warp.
__device__ __forceinline__ void convert_row(const float4* __restrict__ from, uint2* to, float* scale, int lane) {
  float4 v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = __ldcs(from + lane + 32 * i);
  float m = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    m = fmaxf(m, fmaxf(fmaxf(fabsf(v[i].x), fabsf(v[i].y)), fmaxf(fabsf(v[i].z), fabsf(v[i].w))));
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, o));
  int e = m > 0.0f ? (int)(__float_as_uint(m) >> 23) : 127;
  e = max(e, 15);
  const float s = __uint_as_float((uint32_t)(268 - e) << 23);        // 2^(14 - (e - 127))
  const float inv = __uint_as_float((uint32_t)(e - 14) << 23);       // 2^((e - 127) - 14)
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const __half2 lo = __floats2half2_rn(v[i].x * s, v[i].y * s), hi = __floats2half2_rn(v[i].z * s, v[i].w * s);
    to[lane + 32 * i] = make_uint2(*(const uint32_t*)&lo, *(const uint32_t*)&hi);
  }
  if (lane == 0) *scale = inv;
}

// One warp per row: rows_x rows of x, then all of the weight. Also clears the counters of the product.
extern "C" __global__ void __launch_bounds__(256)
prep(const float4* __restrict__ x, const float4* __restrict__ w, void* __restrict__ xh, void* __restrict__ wh,
     float* __restrict__ xs, float* __restrict__ ws, int* __restrict__ counters, int rows_x, int n_counters) {
  asm volatile("griddepcontrol.launch_dependents;");
  const int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (blockIdx.x == 0)
    for (int i = threadIdx.x; i < n_counters; i += 256) counters[i] = 0;
  if (row < rows_x) {
    convert_row(x + (long long)row * 256, (uint2*)xh + (long long)row * 256, xs + row, lane);
  } else {  // column 16J + 4q + 2a + b of the output sits at 16J + 8a + 2q + b of the tile
    const int r = row - rows_x, t = r & 15;
    const int to_row = (r & ~15) | (((t >> 1) & 1) << 3) | (((t >> 2) & 3) << 1) | (t & 1);
    convert_row(w + (long long)r * 256, (uint2*)wh + (long long)to_row * 256, ws + r, lane);
  }
}
__device__ __forceinline__ void mma256(float (&d)[128], unsigned long long da, unsigned long long db, int acc) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, p, 1, 1, 0, 0;\n}\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
        "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
        "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
        "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
        "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),
        "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]),
        "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]),
        "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]),
        "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]),
        "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]),
        "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]),
        "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]),
        "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
      : "l"(da), "l"(db), "r"(acc));
}

__device__ __forceinline__ float ld_scale(const float* p) {  // may have been written during this launch
  float v;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");
  return v;
}

// Rows of x from row0 on, four at a time and in order, by whatever warp is free; ready[panel] counts the rows of 256.
__device__ __forceinline__ void convert_behind(const float4* __restrict__ x, uint2* xh, float* xs, int* work, int* ready,
                                               int row0, int rows, int lane) {
  int c = 0;
  if (lane == 0) c = atomicAdd(work, 1);
  c = __shfl_sync(0xffffffffu, c, 0);
  while (row0 + 4 * c < rows) {
    int next = 0;
    if (lane == 0) next = atomicAdd(work, 1);
    const int r0 = row0 + 4 * c;
#pragma unroll 1
    for (int i = 0; i < 4; ++i)
      convert_row(x + (long long)(r0 + i) * 256, xh + (long long)(r0 + i) * 256, xs + r0 + i, lane);
    asm volatile("fence.proxy.async;" ::: "memory");  // TMA will read them
    __threadfence();
    __syncwarp();
    if (lane == 0) asm volatile("red.release.gpu.global.add.s32 [%0], 4;" ::"l"(ready + (r0 >> 8)) : "memory");
    c = __shfl_sync(0xffffffffu, next, 0);
  }
}
__device__ __forceinline__ void wait_ready(const int* flag) {
  int v;
  for (;;) {
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(flag) : "memory");
    if (v >= 256) break;
    __nanosleep(64);
  }
  asm volatile("fence.proxy.async;" ::: "memory");
}

#define BK 64
#define STAGES 4
#define STAGE_BYTES 49152
extern __shared__ unsigned char smem_raw[];

extern "C" __global__ void __launch_bounds__(384, 1)
gemm(const __grid_constant__ CUtensorMap ma, const __grid_constant__ CUtensorMap mb, float* xs, const float* __restrict__ ws,
     const float* __restrict__ lb, const float* __restrict__ bias, const float* __restrict__ gamma,
     const float* __restrict__ beta, float* __restrict__ y, int* counters, const float4* __restrict__ x, void* xh, int row0, int rows, int tiles, int tiles_n,
     int ksteps, int n, float eps) {
  const uint32_t raw = saddr(smem_raw);
  const uint32_t base = (raw + 1023u) & ~1023u;
  const uint32_t params = base + STAGES * STAGE_BYTES;
  const uint32_t full = params + 2 * 5120, empty = full + 8 * STAGES, ring = empty + 8 * STAGES, order = ring + 80;
  const int warp_id = threadIdx.x >> 5, lane = threadIdx.x & 31;
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  const int rm = (int)(rank >> 1), rn = (int)(rank & 1);  // the cluster is 2 x 2 tiles
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; ++i) {
      bar_init(full + 8 * i, 1);
      bar_init(empty + 8 * i, 3 * 8);  // the consumer warps here and in the two blocks that get half of this block's loads
    }
    for (int i = 0; i < 4; ++i) {
      bar_init(ring + 8 * i, 1);
      bar_init(ring + 32 + 8 * i, 4 * (1 + 8));
    }
    bar_init(order, 4);
    bar_init(order + 8, 4);
  }
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  __syncthreads();
  cluster_sync();
  asm volatile("griddepcontrol.wait;" ::: "memory");

  if (warp_id < 4) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    if (threadIdx.x == 0) {
      int stage = 0, pending = 0;
      uint32_t parity = 1;  // the ring begins empty
      if (rank == 0) {
        tile_push(ring, 0, atomicAdd(counters, 1));
        pending = atomicAdd(counters, 1);
      }
      for (int i = 0;; ++i) {
        if (rank == 0) {
          tile_push(ring, i + 1, pending);
          pending = atomicAdd(counters, 1);
        }
        const int t = tile_peek(ring, i);
        if (t >= tiles) break;
        tile_free(ring, i);
        const int m0 = ((t / tiles_n) * 2 + rm) * 128, n0 = ((t % tiles_n) * 2 + rn) * 256;
        if (m0 >= row0) wait_ready(counters + 2 + (m0 >> 8));
        for (int kt = 0; kt < ksteps; ++kt) {
          const uint32_t sa = base + stage * STAGE_BYTES;
          bar_wait(empty + 8 * stage, parity);
          bar_expect(full + 8 * stage, STAGE_BYTES);
          tma2_multi(sa + rn * 8192, &ma, full + 8 * stage, kt * BK, m0 + rn * 64, (unsigned short)(3 << (2 * rm)));
          tma2_multi(sa + 16384 + rm * 16384, &mb, full + 8 * stage, kt * BK, n0 + rm * 128, (unsigned short)(5 << rn));
          if (++stage == STAGES) { stage = 0; parity ^= 1; }
        }
      }
    } else if (warp_id > 0) {
      convert_behind(x, (uint2*)xh, xs, counters + 1, counters + 2, row0, rows, lane);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    const int w = (warp_id >> 2) - 1, tid = threadIdx.x & 127, warp = tid >> 5, q = lane & 3;
    const uint32_t prm_s = params + w * 5120;
    const float* prm = (const float*)(smem_raw + (prm_s - raw));
    int stage = 0;
    uint32_t parity = 0;
    float d[128];
    for (int i = 0;; ++i) {
      const int t = tile_peek(ring, i);
      __syncwarp();
      if (t >= tiles) break;
      if (lane == 0) tile_free(ring, i);
      const int m0 = ((t / tiles_n) * 2 + rm) * 128, n0 = ((t % tiles_n) * 2 + rn) * 256;
      const int row = m0 + w * 64 + warp * 16 + (lane >> 2);
      float s0 = 0.0f, s1 = 0.0f;
      group_sync(1 + w);  // nobody reads the last tile's parameters any more
      fetch_params<256, 5>(prm_s, lb, bias, gamma, beta, ws, n0, tid);
      int last = 0;
      for (int kt = 0; kt < ksteps; ++kt) {
        bar_wait(full + 8 * stage, parity);
        const uint32_t sa = base + stage * STAGE_BYTES;
        const unsigned long long da = mma_desc(sa + w * 8192), db = mma_desc(sa + 16384);
        mma_fence();
#pragma unroll
        for (int kk = 0; kk < 4; ++kk) mma256(d, da + 2 * kk, db + 2 * kk, (kt | kk) != 0);
        mma_commit();
        if (kt == 0) { s0 = ld_scale(xs + row); s1 = ld_scale(xs + row + 8); }
        mma_wait<1>();
        if (kt > 0 && lane < 3) bar_arrive_rank(empty + 8 * last, rank ^ lane);
        last = stage;
        if (++stage == STAGES) { stage = 0; parity ^= 1; }
      }
      mma_wait<0>();
      pin(d);
      if (lane < 3) bar_arrive_rank(empty + 8 * last, rank ^ lane);
      cp_wait_all();
      group_sync(1 + w);
      float* y0 = y + (long long)row * n + n0;
      epilogue<4, 256, true>(d, prm, q, s0, s1, y0, y0 + 8ll * n, eps);
    }
  }
  __syncwarp();
  cluster_sync();  // a block must not leave while another still writes or arrives here
}
'''


def plan(k, x):
    w = k.param("matmul.weight")
    m, kd = x.shape
    n = w.shape[0]
    assert n == 64 * k.init("num_groups") and n % 512 == 0 and m % 256 == 0 and kd == 1024
    xh, wh = k.empty((m, kd), "float16", align=128), k.empty((n, kd), "float16", align=128)
    xs, ws = k.empty((m,)), k.empty((n,))
    n_counters = 2 + m // 256
    counters = k.empty((n_counters,), "int32")  # cleared by prep
    early = min(m, 2048)  # rows of x converted before the product
    k.launch("prep", grid=((early + n) // 8,), block=(256,),
             args=[x, w, xh, wh, xs, ws, counters, early, n_counters])
    y = k.empty((m, n))
    ma = k.tensor_map(xh, box=(64, 64), swizzle="128b", l2_promotion="256b")
    mb = k.tensor_map(wh, box=(64, 128), swizzle="128b", l2_promotion="256b")
    tiles_n = n // 512
    tiles = (m // 256) * tiles_n  # of a cluster: four blocks, 256 x 512
    k.launch("gemm", grid=(4 * min(1 * k.device.sm_count // 4, tiles),), block=(384,),
             args=[ma, mb, xs, ws, k.param("matmul.bias"), k.param("bias"), k.param("group_norm.weight"),
                   k.param("group_norm.bias"), y, counters, x, xh, early, m, tiles, tiles_n, kd // 64, n, 1e-5],
             shared_bytes=208128, cluster=(4,), pdl=True)
    return y
