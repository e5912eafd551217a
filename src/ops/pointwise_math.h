// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

// The functions that the formulas of pointwise.inc use beyond those of <cmath>. They define what
// the table means where C++ leaves it open; a GPU generator provides functions of the same names.
// Signed integers wrap (the file that instantiates the table is compiled with -fwrapv).
namespace redline::pointwise_math {

// NaN when an operand is NaN.
template <class T>
T maximum(T x, T y) {
  return x > y || x != x ? x : y;
}
template <class T>
T minimum(T x, T y) {
  return x < y || x != x ? x : y;
}

// Integers: towards zero; x / 0 is 0; the most negative number / -1 wraps to itself.
template <class T>
T divide(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) {
    return x / y;
  } else {
    if (y == T(0)) return T(0);
    if constexpr (std::is_signed_v<T>) {
      if (y == T(-1)) return -x;
    }
    return x / y;
  }
}

// x - y * trunc(x / y): the sign of x. Integers: x mod 0 is 0.
template <class T>
T remainder_of_x(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmod(x, y);
  } else {
    if (y == T(0)) return T(0);
    if constexpr (std::is_signed_v<T>) {
      if (y == T(-1)) return T(0);
    }
    return x % y;
  }
}

// x - y * floor(x / y): the sign of y.
template <class T>
T remainder_of_y(T x, T y) {
  T r = remainder_of_x(x, y);
  if constexpr (std::is_floating_point_v<T>) {
    if (r == T(0)) return std::copysign(r, y);
    return (r < T(0)) != (y < T(0)) ? r + y : r;
  } else if constexpr (std::is_signed_v<T>) {
    return r != T(0) && (r < T(0)) != (y < T(0)) ? r + y : r;
  } else {
    return r;
  }
}

// Floats: as C's pow. Integers: wraps; a negative exponent gives 0 unless x is 1 or -1.
template <class T>
T power(T x, T y) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::pow(x, y);
  } else {
    if constexpr (std::is_signed_v<T>) {
      if (y < T(0)) return x == T(1) ? T(1) : x == T(-1) ? (y % T(2) != 0 ? T(-1) : T(1)) : T(0);
    }
    T result = 1;
    for (uint64_t n = static_cast<uint64_t>(y); n != 0; n >>= 1) {
      if ((n & 1) != 0) result *= x;
      x *= x;
    }
    return result;
  }
}

// Counts outside [0, 63] give 0 (right shifts of negative numbers: -1).
template <class T>
T shift_left(T x, T y) {
  return static_cast<uint64_t>(y) > 63 ? T(0) : static_cast<T>(static_cast<uint64_t>(x) << y);
}
template <class T>
T shift_right(T x, T y) {
  if (static_cast<uint64_t>(y) > 63) return x < T(0) ? static_cast<T>(~uint64_t{0}) : T(0);
  return x >> y;
}

}  // namespace redline::pointwise_math
