// SPDX-License-Identifier: Apache-2.0
// Matrix instructions of a warp (sm_80 and later). Fragments are spread over the lanes as PTX says:
// with g = lane / 4 and t = lane % 4, d[0..3] are (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1).

// Four 8x8 matrices of 16-bit elements: lane l gives the place of row l % 8 of matrix l / 8, and
// gets of each the elements (g, 2t), (g, 2t+1); with kTransposed (2t, g), (2t+1, g).
enum MatrixOrder { kStraight, kTransposed };
template <MatrixOrder ORDER>
__device__ inline void load_matrices(u32 (&to)[4], const void* place) {
#ifdef REDLINE_EMULATED
  auto rows = emulated_exchange(place);
  int lane = emulated_lane();
  for (int m = 0; m < 4; ++m) {
    u16 pair[2];
    for (int i = 0; i < 2; ++i) {
      int row = ORDER == kStraight ? lane / 4 : lane % 4 * 2 + i;
      int column = ORDER == kStraight ? lane % 4 * 2 + i : lane / 4;
      pair[i] = ((const u16*)rows[m * 8 + row])[column];
    }
    to[m] = pair[0] | (u32)pair[1] << 16;
  }
#else
  u32 at = (u32)__cvta_generic_to_shared(place);
  if constexpr (ORDER == kStraight) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
  }
#endif
}

template <class T>
__device__ inline float unpack_half(u32 pair, int i) {
  T half;
  half.bits = (u16)(pair >> (16 * i));
  return widen(half);
}

#ifdef REDLINE_EMULATED
struct MatrixFragments {
  u32 a[4], b[2];
};
template <class T>
static void emulated_mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  MatrixFragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  auto all = emulated_exchange(mine);
  int lane = emulated_lane();
  for (int i = 0; i < 4; ++i) {
    int row = lane / 4 + i / 2 * 8;
    int column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      u32 x = all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
      u32 y = all[column * 4 + k % 8 / 2].b[k / 8];
      d[i] += unpack_half<T>(x, k % 2) * unpack_half<T>(y, k % 2);
    }
  }
}
#endif

// d (16x8) += a (16x16) b (16x8).
__device__ inline void mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], f16) {
#ifdef REDLINE_EMULATED
  emulated_mma<f16>(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
__device__ inline void mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], bf16) {
#ifdef REDLINE_EMULATED
  emulated_mma<bf16>(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Two floats rounded to halves, the first in the low bits.
__device__ inline u32 pack_halves(float low, float high, f16) {
#ifdef REDLINE_EMULATED
  return narrow_f16(low) | (u32)narrow_f16(high) << 16;
#else
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}
__device__ inline u32 pack_halves(float low, float high, bf16) {
#ifdef REDLINE_EMULATED
  return narrow_bf16(low) | (u32)narrow_bf16(high) << 16;
#else
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

// d (16x8) += a (16x8) b (8x8) of f32 numbers whose low 13 bits are zero (tf32): a[0..3] are (g,
// t), (g+8, t), (g, t+4), (g+8, t+4), b[0..1] are (t, g), (t+4, g).
__device__ inline void mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], float) {
#ifdef REDLINE_EMULATED
  MatrixFragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  auto all = emulated_exchange(mine);
  int lane = emulated_lane();
  for (int i = 0; i < 4; ++i) {
    int row = lane / 4 + i / 2 * 8;
    int column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 8; ++k) {
      u32 x = all[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2] & ~0x1fffu;
      u32 y = all[column * 4 + k % 4].b[k / 4] & ~0x1fffu;
      d[i] += bits_to_float(x) * bits_to_float(y);
    }
  }
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Fragments of f32 numbers, each as two of 11 bits; what is left is below 2^-21 of it. Infinity is
// in `high` alone: nothing else may be multiplied with a half of the other operand that may be 0.
template <int COUNT>
struct SplitFragment {
  u32 high[COUNT], finite[COUNT], low[COUNT];
  __device__ inline SplitFragment(const float (&value)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      bool infinite = fabsf(value[i]) == INFINITY;
      high[i] = float_to_bits(value[i]) & ~0x1fffu;
      finite[i] = infinite ? 0u : high[i];
      low[i] = infinite ? 0u : float_to_bits(value[i] - bits_to_float(high[i])) & ~0x1fffu;
    }
  }
};

// Fragments of f32 numbers rounded to tf32; `finite` has 0 for infinity.
template <int COUNT>
struct RoundedFragment {
  u32 bits[COUNT], finite[COUNT];
  __device__ inline RoundedFragment(const float (&value)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
#ifdef REDLINE_EMULATED
      bits[i] = float_to_bits(round_to_tf32(value[i]));
#else
      asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits[i]) : "f"(value[i]));
#endif
      finite[i] = fabsf(bits_to_float(bits[i])) == INFINITY ? 0u : bits[i];
    }
  }
};
template <bool ROUNDED, int COUNT>
struct FloatFragment {
  typedef SplitFragment<COUNT> type;
};
template <int COUNT>
struct FloatFragment<true, COUNT> {
  typedef RoundedFragment<COUNT> type;
};

// d += a b to nearly f32: three products of their halves, the least first.
__device__ inline void mma_floats(float (&d)[4], const SplitFragment<4>& a,
                                  const SplitFragment<2>& b) {
  mma(d, a.low, b.finite, 0.0f);
  mma(d, a.finite, b.low, 0.0f);
  mma(d, a.high, b.high, 0.0f);
}
// ... of numbers that are tf32.
__device__ inline void mma_floats(float (&d)[4], const RoundedFragment<4>& a,
                                  const RoundedFragment<2>& b) {
  mma(d, a.bits, b.bits, 0.0f);
}
__device__ inline void mma_floats(float (&d)[4], const SplitFragment<4>& a,
                                  const RoundedFragment<2>& b) {
  mma(d, a.low, b.finite, 0.0f);
  mma(d, a.high, b.bits, 0.0f);
}
