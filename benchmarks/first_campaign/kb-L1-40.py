LANGUAGE = "cuda"
PRECISION = "ieee"
SOURCE = r'''#include <cooperative_groups.h>

#define EMPTY_SLOT 0xffffffffffffffffull
#define THREADS 256
#define WARPS 8
#define CH 32                      // float4 of a thread in a row
#define CHUNK_BYTES 8192           // the block's chunk: 1 KB (two float4 per lane) of each of 8 warps
#define CHUNKS 16                  // chunks in a block's share of a row
#define NST 28                     // ring stages
#define DELAY 5                   // chunks between the end of a row's statistics and its first output
#define STREAM0 2                  // float4 number 2, 5, 8, ... 29, 31 of bias come from L2, the other 21 stay in registers
#define KEEP_B(j) ((j) % 3 != 2 && (j) != 31)
typedef unsigned long long u64;
typedef unsigned int u32;

// L2 cache policies as createpolicy.fractional encodes them (fraction 1): evict_first, evict_last
#define first 0x12F0000000000000ull
#define last 0x14F0000000000000ull
__device__ __forceinline__ float4 ldg_hint(const float4* p, u64 pol) {
  float4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.f32 {%0,%1,%2,%3}, [%4], %5;"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p), "l"(pol));
  return v;
}
__device__ __forceinline__ float4 lds(u32 a) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(a) : "memory");
  return v;
}
__device__ __forceinline__ void mbar_init(u64* b, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"((u32)__cvta_generic_to_shared(b)), "r"(count) : "memory");
}
__device__ __forceinline__ void mbar_arrive(u64* b) {
  asm volatile("{\n.reg .b64 st;\nmbarrier.arrive.shared::cta.b64 st, [%0];\n}"
               :: "r"((u32)__cvta_generic_to_shared(b)) : "memory");
}
__device__ __forceinline__ void mbar_wait_addr(u32 a, u32 parity) {
  u32 ok;
  do {
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(ok) : "r"(a), "r"(parity) : "memory");
  } while (!ok);
}
__device__ __forceinline__ void mbar_wait(u64* b, u32 parity) {
  mbar_wait_addr((u32)__cvta_generic_to_shared(b), parity);
}

// Merge four values, the thread's piece `js` of the row, into its running (mean, M2) of 4 js values.
__device__ __forceinline__ void accumulate(float4 v, int js, float& mean, float& m2) {
  const float m4 = ((v.x + v.y) + (v.z + v.w)) * 0.25f;
  const float a = v.x - m4, b = v.y - m4, c = v.z - m4, d = v.w - m4;
  const float q = fmaf(a, a, b * b) + fmaf(c, c, d * d);
  if (js == 0) {
    mean = m4;
    m2 = q;
  } else {
    const float delta = m4 - mean;
    mean = fmaf(delta, 1.0f / (float)(js + 1), mean);
    m2 = fmaf(delta * delta, 4.0f * (float)js / (float)(js + 1), m2 + q);
  }
}
// 32 lanes of 4 CH values each: equal counts, pairwise.
__device__ __forceinline__ void warp_merge(float& mean, float& m2) {
#pragma unroll
  for (int o = 1; o < 32; o <<= 1) {
    const float om = __shfl_xor_sync(0xffffffffu, mean, o);
    const float oq = __shfl_xor_sync(0xffffffffu, m2, o);
    const float d = om - mean;
    mean = 0.5f * (mean + om);
    m2 = fmaf(d * d, 2.0f * (float)CH * (float)o, m2 + oq);
  }
}
// One warp: merge the block's warp partials pairwise and publish (mean, M2) in one 8-byte word that is its own flag.
__device__ __forceinline__ void post_row(u64* slot, const float2* part) {
  const int lane = threadIdx.x & 31;
  const float2 p = part[lane & (WARPS - 1)];
  double m = (double)p.x, q = (double)p.y;
#pragma unroll
  for (int o = 1; o < WARPS; o <<= 1) {
    const double om = __shfl_xor_sync(0xffffffffu, m, o);
    const double oq = __shfl_xor_sync(0xffffffffu, q, o);
    const double d = om - m;
    m = 0.5 * (m + om);
    q = fma(d * d, 64.0 * (double)CH * (double)o, q + oq);
  }
  if (lane == 0) {
    u64 word = ((u64)__float_as_uint((float)q) << 32) | (u64)__float_as_uint((float)m);
    if (word == EMPTY_SLOT) word = 0x7fffffff7fffffffull;
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" :: "l"(slot), "l"(word) : "memory");
  }
  __syncwarp();
}
// One warp: wait for all blocks' words of a row, and hand mean and 1/sigma to the block.
__device__ __forceinline__ void collect_row(const u64* row, int nb, float4* stats, u64* stat_full) {
  const int lane = threadIdx.x & 31;
  u64 w[4];
  bool ready;
  do {
    ready = true;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      w[i] = 0;
      if (lane + 32 * i < nb)
        asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(w[i]) : "l"(row + lane + 32 * i) : "memory");
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) ready = ready && (w[i] != EMPTY_SLOT);
  } while (!__all_sync(0xffffffffu, ready));
  // deviations of the blocks' means from block 0's mean, in double: one round of shuffles instead of two
  const double k0 = (double)__shfl_sync(0xffffffffu, __uint_as_float((u32)w[0]), 0);
  double s1 = 0.0, s2 = 0.0;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (lane + 32 * i < nb) {
      const double d = (double)__uint_as_float((u32)w[i]) - k0;
      s1 += d;
      s2 += fma(d * d, 32768.0, (double)__uint_as_float((u32)(w[i] >> 32)));
    }
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) {
    const double a = __shfl_xor_sync(0xffffffffu, s1, o), b = __shfl_xor_sync(0xffffffffu, s2, o);
    s1 += a;
    s2 += b;
  }
  if (lane == 0) {
    const double dm = s1 / (double)nb;
    const double mean = k0 + dm;
    const double v = fmax(s2 - 32768.0 * s1 * dm, 0.0) / (32768.0 * (double)nb) + 1e-5;
    const double rstd = 1.0 / sqrt(v);
    const float hi = (float)mean;
    *stats = make_float4(hi, (float)rstd, (float)((double)hi - mean) * (float)rstd, 0.0f);
    mbar_arrive(stat_full);
  }
  __syncwarp();
}
// ((x - mean) / sigma) * w + b; st = (mean_hi, 1/sigma, -mean_lo/sigma)
__device__ __forceinline__ float4 affine(float4 x, float4 w, float4 b, float mh, float rs, float c) {
  return make_float4(fmaf(fmaf(x.x - mh, rs, c), w.x, b.x), fmaf(fmaf(x.y - mh, rs, c), w.y, b.y),
                     fmaf(fmaf(x.z - mh, rs, c), w.z, b.z), fmaf(fmaf(x.w - mh, rs, c), w.w, b.w));
}
// The warp that comes last publishes the block's share of the row.
__device__ __forceinline__ void publish(float mean, float m2, float2* part, u32* count, u64* slot) {
  warp_merge(mean, m2);
  u32 old = 0;
  if ((threadIdx.x & 31) == 0) {
    part[threadIdx.x >> 5] = make_float2(mean, m2);
    asm volatile("atom.acq_rel.cta.shared::cta.add.u32 %0, [%1], 1;"
                 : "=r"(old) : "r"((u32)__cvta_generic_to_shared(count)) : "memory");
  }
  old = __shfl_sync(0xffffffffu, old, 0);
  __syncwarp();
  if ((old & (WARPS - 1)) == WARPS - 1) post_row(slot, part);
}

__device__ __forceinline__ void bulk_load(u32 dst, const float4* src, u32 bar, u64 pol) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(bar), "r"(1024) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
               :: "r"(dst), "l"(src), "r"(1024), "r"(bar), "l"(pol) : "memory");
}

// Every warp has a ring of its own (its kilobyte of every chunk, and its own mbarriers), filled by bulk copies that
// its lane 0 issues: no barrier between warps on data, no producer warp. Chunk c of the whole run
// (c = row * CHUNKS + i) is at base + c * step for all blocks together, so the 128 blocks walk through x and y as
// one contiguous front of 1 MB, as a plain copy does.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
layer_norm_rows(const float4* __restrict__ x, const float4* __restrict__ weight, const float4* __restrict__ bias,
                float4* __restrict__ y, void* scratch, int rows, int n4) {
  extern __shared__ __align__(128) float4 ring[];
  __shared__ float2 part[2][WARPS];
  __shared__ float4 stats[2];
  __shared__ u64 stat_full;
  __shared__ u64 full[NST][WARPS];
  __shared__ u32 count;
  u64* slots = (u64*)scratch;
  const int tid = threadIdx.x, blk = blockIdx.x, nb = gridDim.x;
  const int lane = tid & 31, warp = tid >> 5;
  const u32 mine = (u32)__cvta_generic_to_shared(ring) + warp * 1024 + lane * 16;
  const u32 bar0 = (u32)__cvta_generic_to_shared(&full[0][0]) + warp * 8;
  const int at0 = blk * 512 + warp * 64 + lane;
  const int step = nb * 512;               // float4 from a chunk to the next one

  if (lane == 0) {
    for (int i = 0; i < NST; ++i) mbar_init(&full[i][warp], 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
    for (int c = 0; c < NST; ++c) bulk_load(mine + c * CHUNK_BYTES, x + at0 + c * step, bar0 + 8 * WARPS * c, first);
  }
  if (tid == 0) {
    mbar_init(&stat_full, 1);
    count = 0;
  }
  for (int r = tid; r < rows; r += THREADS) slots[(long long)r * nb + blk] = EMPTY_SLOT;
  cooperative_groups::this_grid().sync();   // all slots are empty now; the first loads are in flight meanwhile

  // this thread's weight and two thirds of its bias, for the whole run
  float4 w[CH], b[CH];                     // b: only those that KEEP_B says are ever alive across rows
#pragma unroll
  for (int j = 0; j < CH; ++j) w[j] = ldg_hint(weight + at0 + (j / 2) * step + 32 * (j % 2), first);
#pragma unroll
  for (int j = 0; j < CH; ++j)
    if (KEEP_B(j)) b[j] = ldg_hint(bias + at0 + (j / 2) * step + 32 * (j % 2), first);
  float4 bn = ldg_hint(bias + at0 + (STREAM0 / 2) * step + 32 * (STREAM0 % 2), last);

  float mean = 0.0f, m2 = 0.0f;
#pragma unroll
  for (int c = 0; c < CHUNKS + DELAY; ++c) {
    mbar_wait_addr(bar0 + 8 * WARPS * c, 0);
    accumulate(lds(mine + c * CHUNK_BYTES), 2 * (c % CHUNKS), mean, m2);
    accumulate(lds(mine + c * CHUNK_BYTES + 512), 2 * (c % CHUNKS) + 1, mean, m2);
    if (c == CHUNKS - 1) publish(mean, m2, part[0], &count, slots + blk);
  }

  int sn = 0, ss = CHUNKS + DELAY;         // stages of the chunk written and of the chunk counted
  if (ss >= NST) ss -= NST;
  u32 ps = CHUNKS + DELAY >= NST ? 1 : 0;
  int o = at0;                             // float4 offset of the chunk written; all of x has less than 2^31
#pragma unroll 1
  for (int r = 0; r < rows; ++r) {
    if (tid < 32) collect_row(slots + r * nb, nb, &stats[r & 1], &stat_full);
    mbar_wait(&stat_full, r & 1);
    const float4 st = stats[r & 1];
#pragma unroll
    for (int i = 0; i < CHUNKS; ++i) {
      // statistics of the chunk CHUNKS + DELAY ahead ...
      if (r + 1 + (i + DELAY) / CHUNKS < rows) {
        mbar_wait_addr(bar0 + 8 * WARPS * ss, ps);
        const int q = 2 * ((i + DELAY) % CHUNKS);
        accumulate(lds(mine + ss * CHUNK_BYTES), q, mean, m2);
        accumulate(lds(mine + ss * CHUNK_BYTES + 512), q + 1, mean, m2);
        if (q == CH - 2) publish(mean, m2, part[(r + 1) & 1], &count, slots + (r + 1) * nb + blk);
        if (++ss == NST) { ss = 0; ps ^= 1; }
      }
      // ... and out with chunk i of row r
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int j = 2 * i + h;
        const float4 v = lds(mine + sn * CHUNK_BYTES + 512 * h);
        float4 bj;
        if (KEEP_B(j)) {
          bj = b[j];
        } else {                           // the next streamed one comes from L2, two or three steps ahead, round to the next row
          bj = bn;
          const int n = j == 31 ? STREAM0 : j == 29 ? 31 : j + 3;
          bn = ldg_hint(bias + at0 + (n / 2) * step + 32 * (n % 2), last);
        }
        __stcs(y + o + 32 * h, affine(v, w[j], bj, st.x, st.y, st.z));
      }
      __syncwarp();                        // all lanes have read the stage: it takes the chunk NST ahead
      if (r + (i + NST) / CHUNKS < rows && lane == 0)
        bulk_load(mine + sn * CHUNK_BYTES, x + (o + NST * step), bar0 + 8 * WARPS * sn, first);
      if (++sn == NST) sn = 0;
      o += step;
    }
  }
}
'''

def plan(k, x):
    rows = x.shape[0]
    n = x.numel() // rows
    blocks = n // 32768
    assert n == blocks * 32768 and rows >= 2 and blocks <= 128 and blocks <= k.device.sm_count
    y = k.empty_like(x)
    slots = k.scratch(8 * rows * blocks)
    k.launch(
        "layer_norm_rows",
        grid=(blocks,),
        block=(256,),
        args=[x, k.param("ln.weight"), k.param("ln.bias"), y, slots, rows, n // 4],
        shared_bytes=28 * 8192,
        cooperative=True,
    )
    return y
