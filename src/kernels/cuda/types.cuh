// SPDX-License-Identifier: Apache-2.0
// Element types as they lie in memory, and their conversion to what kernels compute in: float for
// the small floats, 64-bit integers for integers. Put in front of every generated kernel.
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct f16 {
  u16 bits;
};
struct bf16 {
  u16 bits;
};
struct f8e4m3fn {
  u8 bits;
};
struct f8e4m3fnuz {
  u8 bits;
};
struct f8e5m2 {
  u8 bits;
};
struct f8e5m2fnuz {
  u8 bits;
};
struct f8e8m0 {
  u8 bits;
};
struct f4e2m1 {
  u8 bits;
};
// One byte an element; the value fits the type.
struct i4 {
  i8 value;
};
struct i2 {
  i8 value;
};
struct u4 {
  u8 value;
};
struct u2 {
  u8 value;
};
struct b8 {
  u8 value;
};

#ifndef REDLINE_EMULATED
__device__ inline float bits_to_float(u32 bits) { return __uint_as_float(bits); }
__device__ inline u32 float_to_bits(float value) { return __float_as_uint(value); }
__device__ inline u64 double_to_bits(double value) { return (u64)__double_as_longlong(value); }
__device__ inline double bits_to_double(u64 bits) { return __longlong_as_double((i64)bits); }
__device__ inline float widen_f16(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
__device__ inline u16 narrow_f16(float value) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
__device__ inline u16 narrow_f16(double value) {
  u16 bits;
  asm("cvt.rn.f16.f64 %0, %1;" : "=h"(bits) : "d"(value));
  return bits;
}
#endif

// From here on plain C++.

__device__ inline u16 narrow_bf16(float value) {
  u32 bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40u);
  return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// A double rounded to odd, so that rounding it once more gives what one rounding would have.
__device__ inline float to_odd(double value) {
  float nearest = (float)value;
  if (value != value || (double)nearest == value) return nearest;
  u32 bits = float_to_bits(nearest);
  if ((bits & 0x7fffffffu) == 0x7f800000u) return nearest;
  // One step towards zero when rounding went away from it, then the last bit set.
  double magnitude = value < 0 ? -value : value;
  double rounded = nearest < 0 ? -(double)nearest : (double)nearest;
  if (rounded > magnitude) --bits;
  return bits_to_float(bits | 1u);
}

// A small float of 8 bits or fewer: sign, exponent, mantissa. `fnuz`: no infinity, no negative
// zero, NaN is the bits of -0. `finite`: no infinity, NaN is all ones.
template <int E, int M, int BIAS, bool FNUZ, bool FINITE>
__device__ inline float widen_small(u8 bits) {
  u32 sign = (bits >> (E + M)) & 1u;
  u32 exponent = (bits >> M) & ((1u << E) - 1);
  u32 mantissa = bits & ((1u << M) - 1);
  const float nan = bits_to_float(0x7fc00000u | sign << 31);
  if (FNUZ && exponent == 0 && mantissa == 0 && sign) return nan;
  if (!FNUZ && FINITE && E + M == 7 && exponent == (1u << E) - 1 && mantissa == (1u << M) - 1)
    return nan;
  if (!FNUZ && !FINITE && exponent == (1u << E) - 1) {
    return mantissa ? nan : bits_to_float(0x7f800000u | sign << 31);
  }
  float value = exponent == 0 ? (float)mantissa * bits_to_float((u32)(1 - BIAS - M + 127) << 23)
                              : bits_to_float((exponent + 127 - BIAS) << 23 | mantissa << (23 - M));
  return sign ? -value : value;
}

// Rounds to nearest even; `largest` is the greatest finite code. Beyond it: the greatest finite
// value when saturating, else infinity or NaN.
template <int E, int M, int BIAS, bool FNUZ, bool FINITE>
__device__ inline u8 narrow_small(float value, bool saturate) {
  u32 bits = float_to_bits(value);
  u32 sign = bits >> 31;
  u32 magnitude = bits & 0x7fffffffu;
  const u32 all = (1u << (E + M)) - 1;
  const u32 infinity = ((1u << E) - 1) << M;
  const u32 largest = FNUZ ? all : FINITE ? (E + M == 7 ? all - 1 : all) : infinity - 1;
  const u32 nan = FNUZ ? 1u << (E + M) : FINITE ? all : infinity | 1u << (M - 1);
  if (magnitude > 0x7f800000u) return (u8)(FNUZ ? nan : nan | sign << (E + M));
  int exponent = (int)(magnitude >> 23) - 127 + BIAS;
  u32 code;
  if (exponent >= 1) {
    u32 kept = (magnitude & 0x7fffffu) | (u32)exponent << 23;
    u32 shift = 23 - M;
    code = (kept + (1u << (shift - 1)) - 1 + ((kept >> shift) & 1u)) >> shift;
    if (exponent >= (1 << E)) code = largest + 1;
  } else {
    // A count of the smallest subnormal, rounded by the addition of a large number.
    float scaled = bits_to_float(magnitude) * bits_to_float((u32)(BIAS + M - 1 + 127) << 23);
    code = float_to_bits(scaled + 8388608.0f) - 0x4b000000u;
  }
  if (code > largest) {
    if (saturate) {
      code = largest;
    } else if (FNUZ) {
      return (u8)nan;
    } else {
      code = FINITE ? nan : infinity;
    }
  }
  if (FNUZ && code == 0) return 0;
  return (u8)(code | sign << (E + M));
}

__device__ inline float widen_e8m0(u8 bits) {
  if (bits == 255) return bits_to_float(0x7fc00000u);
  return bits == 0 ? bits_to_float(0x00400000u) : bits_to_float((u32)bits << 23);
}

// round: 0 up, 1 down, 2 nearest with ties upwards. Negative values and NaN have no counterpart;
// what is outside [2^-127, 2^127] becomes the nearer end when saturating.
__device__ inline u8 narrow_e8m0(float value, bool saturate, int round) {
  if (!(value >= 0)) return 255;
  const float least = bits_to_float(0x00400000u);
  const float most = bits_to_float(0x7f000000u);
  if (value < least) return saturate ? 0 : 255;
  if (value > most) return saturate ? 254 : 255;
  u32 bits = float_to_bits(value);
  if (value < bits_to_float(0x00800000u)) {  // in [2^-127, 2^-126)
    bool up = round == 0 ? value > least : round == 2 && value >= 1.5f * least;
    return up ? 1 : 0;
  }
  u32 exponent = bits >> 23;
  u32 mantissa = bits & 0x7fffffu;
  bool up = round == 0 ? mantissa != 0 : round == 2 && mantissa >= 0x400000u;
  return (u8)(exponent + (up ? 1 : 0));
}

// Storing saturates, but an infinity stays one where the type has it.
#define REDLINE_SMALL_FLOAT(T, E, M, BIAS, FNUZ, FINITE)                                       \
  __device__ inline float widen(T x) { return widen_small<E, M, BIAS, FNUZ, FINITE>(x.bits); } \
  __device__ inline void narrow(T* p, float v) {                                               \
    p->bits = narrow_small<E, M, BIAS, FNUZ, FINITE>(v, v - v == 0);                           \
  }                                                                                            \
  __device__ inline void narrow(T* p, double v) { narrow(p, to_odd(v)); }                      \
  __device__ inline T cast_small(T, float v, bool saturate) {                                  \
    T r;                                                                                       \
    r.bits = narrow_small<E, M, BIAS, FNUZ, FINITE>(v, saturate);                              \
    return r;                                                                                  \
  }
REDLINE_SMALL_FLOAT(f8e4m3fn, 4, 3, 7, false, true)
REDLINE_SMALL_FLOAT(f8e4m3fnuz, 4, 3, 8, true, true)
REDLINE_SMALL_FLOAT(f8e5m2, 5, 2, 15, false, false)
REDLINE_SMALL_FLOAT(f8e5m2fnuz, 5, 2, 16, true, true)
#undef REDLINE_SMALL_FLOAT

__device__ inline float widen(f4e2m1 x) { return widen_small<2, 1, 1, false, true>(x.bits & 15); }
__device__ inline void narrow(f4e2m1* p, float v) {
  p->bits = v != v ? 0 : narrow_small<2, 1, 1, false, true>(v, true);
}
__device__ inline void narrow(f4e2m1* p, double v) { narrow(p, to_odd(v)); }
__device__ inline float widen(f8e8m0 x) { return widen_e8m0(x.bits); }
__device__ inline void narrow(f8e8m0* p, float v) { p->bits = narrow_e8m0(v, true, 0); }
__device__ inline void narrow(f8e8m0* p, double v) { narrow(p, to_odd(v)); }

__device__ inline float widen(f16 x) { return widen_f16(x.bits); }
__device__ inline void narrow(f16* p, float v) { p->bits = narrow_f16(v); }
__device__ inline void narrow(f16* p, double v) { p->bits = narrow_f16(v); }
__device__ inline float widen(bf16 x) { return bits_to_float((u32)x.bits << 16); }
__device__ inline void narrow(bf16* p, float v) { p->bits = narrow_bf16(v); }
__device__ inline void narrow(bf16* p, double v) { p->bits = narrow_bf16(to_odd(v)); }
__device__ inline float widen(float x) { return x; }
__device__ inline void narrow(float* p, float v) { *p = v; }
__device__ inline void narrow(float* p, double v) { *p = (float)v; }
__device__ inline double widen(double x) { return x; }
__device__ inline void narrow(double* p, double v) { *p = v; }

// Integers keep the low bits.
#define REDLINE_INTEGER(T, WIDE)                        \
  __device__ inline WIDE widen(T x) { return (WIDE)x; } \
  __device__ inline void narrow(T* p, WIDE v) { *p = (T)v; }
REDLINE_INTEGER(i8, i64)
REDLINE_INTEGER(i16, i64)
REDLINE_INTEGER(i32, i64)
REDLINE_INTEGER(i64, i64)
REDLINE_INTEGER(u8, u64)
REDLINE_INTEGER(u16, u64)
REDLINE_INTEGER(u32, u64)
REDLINE_INTEGER(u64, u64)
#undef REDLINE_INTEGER
__device__ inline i64 widen(i4 x) { return x.value; }
__device__ inline void narrow(i4* p, i64 v) { p->value = (i8)((i8)((u8)v << 4) >> 4); }
__device__ inline i64 widen(i2 x) { return x.value; }
__device__ inline void narrow(i2* p, i64 v) { p->value = (i8)((i8)((u8)v << 6) >> 6); }
__device__ inline u64 widen(u4 x) { return x.value; }
__device__ inline void narrow(u4* p, u64 v) { p->value = (u8)(v & 15); }
__device__ inline u64 widen(u2 x) { return x.value; }
__device__ inline void narrow(u2* p, u64 v) { p->value = (u8)(v & 3); }
__device__ inline bool widen(b8 x) { return x.value != 0; }
__device__ inline void narrow(b8* p, bool v) { p->value = v ? 1 : 0; }

// What storing as T and reading again would give.
template <class T, class W>
__device__ inline W rounded(W value) {
  T stored;
  narrow(&stored, value);
  return (W)widen(stored);
}

// Towards zero, at the nearer end of [lowest, highest] when beyond it; NaN is 0.
__device__ inline i64 saturating_i64(double v, i64 lowest, i64 highest) {
  if (v != v) return 0;
  if (v <= (double)lowest) return lowest;
  if (v >= (double)highest) return highest;
  return (i64)v;
}
__device__ inline u64 saturating_u64(double v) {
  if (!(v > 0)) return 0;
  return v >= 18446744073709551616.0 ? ~0ull : (u64)v;
}
