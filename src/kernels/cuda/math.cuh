// SPDX-License-Identifier: Apache-2.0
// The functions that the formulas of ops/pointwise.inc name beyond those of CUDA, with the meaning
// that ops/pointwise_math.h gives them.
#ifndef INFINITY
#define INFINITY bits_to_float(0x7f800000u)
#endif
#ifndef NAN
#define NAN bits_to_float(0x7fc00000u)
#endif

template <class T>
struct is_float_type {
  static constexpr bool value = false;
};
template <>
struct is_float_type<float> {
  static constexpr bool value = true;
};
template <>
struct is_float_type<double> {
  static constexpr bool value = true;
};
template <class T>
struct is_signed_type {
  static constexpr bool value = T(-1) < T(0);
};

template <class T>
__device__ inline T maximum(T x, T y) {
  return x > y || x != x ? x : y;
}
template <class T>
__device__ inline T minimum(T x, T y) {
  return x < y || x != x ? x : y;
}

#ifndef REDLINE_EMULATED
// One instruction.
template <>
__device__ inline float maximum<float>(float x, float y) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(x), "f"(y));
  return r;
}
template <>
__device__ inline float minimum<float>(float x, float y) {
  float r;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(x), "f"(y));
  return r;
}
#endif

// 2^x to two units in the last place; 0 where that is below 2^-126.
__device__ inline float exp2_or_zero(float x) {
#ifdef REDLINE_EMULATED
  return x < -126.0f ? 0.0f : exp2f(x);
#else
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
#endif
}

// 1 / x to a unit in the last place, for x that is neither tiny nor huge.
__device__ inline float quick_reciprocal(float x) {
#ifdef REDLINE_EMULATED
  return 1.0f / x;
#else
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
#endif
}

// Not joined with a sum.
__device__ inline float rounded_product(float x, float y) {
#ifdef REDLINE_EMULATED
  volatile float product = x * y;
  return product;
#else
  return __fmul_rn(x, y);
#endif
}

template <class T>
__device__ inline T divide(T x, T y) {
  if constexpr (is_float_type<T>::value) {
    return x / y;
  } else {
    if (y == T(0)) return T(0);
    if constexpr (is_signed_type<T>::value) {
      if (y == T(-1)) return (T)(0 - (u64)x);
    }
    return x / y;
  }
}

template <class T>
__device__ inline T remainder_of_x(T x, T y) {
  if constexpr (is_float_type<T>::value) {
    return fmod(x, y);
  } else {
    if (y == T(0)) return T(0);
    if constexpr (is_signed_type<T>::value) {
      if (y == T(-1)) return T(0);
    }
    return x % y;
  }
}

template <class T>
__device__ inline T remainder_of_y(T x, T y) {
  T r = remainder_of_x(x, y);
  if constexpr (is_float_type<T>::value) {
    if (r == T(0)) return copysign(r, y);
    return (r < T(0)) != (y < T(0)) ? r + y : r;
  } else if constexpr (is_signed_type<T>::value) {
    return r != T(0) && (r < T(0)) != (y < T(0)) ? r + y : r;
  } else {
    return r;
  }
}

template <class T>
__device__ inline T power(T x, T y) {
  if constexpr (is_float_type<T>::value) {
    // Exact where pow is a last digit off, which an integer result would show.
    if (y == T(0.5) && x > T(0)) return sqrt(x);
    return pow(x, y);
  } else {
    if constexpr (is_signed_type<T>::value) {
      if (y < T(0)) return x == T(1) ? T(1) : x == T(-1) ? (y % T(2) != 0 ? T(-1) : T(1)) : T(0);
    }
    u64 result = 1;
    u64 base = (u64)x;
    for (u64 n = (u64)y; n != 0; n >>= 1) {
      if ((n & 1) != 0) result *= base;
      base *= base;
    }
    return (T)result;
  }
}

template <class T>
__device__ inline T shift_left(T x, T y) {
  return (u64)y > 63 ? T(0) : (T)((u64)x << (u64)y);
}
template <class T>
__device__ inline T shift_right(T x, T y) {
  if ((u64)y > 63) return x < T(0) ? (T)~0ull : T(0);
  return x >> y;
}

// As ops/tf32.h does it.
__device__ inline float round_to_tf32(float v) {
  return fabsf(v) < INFINITY ? bits_to_float((float_to_bits(v) + 0x1000u) & ~0x1fffu) : v;
}
