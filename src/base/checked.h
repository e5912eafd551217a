// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace redline {

// Arithmetic on sizes that come from outside: nullopt when the true result does not fit T.
template <std::integral T>
constexpr std::optional<T> checked_add(T a, T b) {
  T out{};
  if (__builtin_add_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
constexpr std::optional<T> checked_sub(T a, T b) {
  T out{};
  if (__builtin_sub_overflow(a, b, &out)) return std::nullopt;
  return out;
}

template <std::integral T>
constexpr std::optional<T> checked_mul(T a, T b) {
  T out{};
  if (__builtin_mul_overflow(a, b, &out)) return std::nullopt;
  return out;
}

// The same value in another integer type.
template <std::integral To, std::integral From>
constexpr std::optional<To> checked_cast(From value) {
  if (!std::in_range<To>(value)) return std::nullopt;
  return static_cast<To>(value);
}

// For a >= 0 and b > 0 whose sum fits.
template <std::integral T>
constexpr T divide_up(T a, std::type_identity_t<T> b) {
  return (a + b - 1) / b;
}

// The number of elements of a shape. nullopt for a negative dim or when the product of the non-zero
// dims does not fit, so that a zero never hides an absurd shape. The product of no dims is 1.
template <std::integral T>
constexpr std::optional<T> checked_product(std::span<const T> dims) {
  T product = 1;
  bool zero = false;
  for (T dim : dims) {
    if constexpr (std::signed_integral<T>) {
      if (dim < 0) return std::nullopt;
    }
    if (dim == 0) {
      zero = true;
    } else if (__builtin_mul_overflow(product, dim, &product)) {
      return std::nullopt;
    }
  }
  return zero ? T{0} : product;
}

}  // namespace redline
