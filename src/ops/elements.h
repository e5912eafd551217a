// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace redline {

// References compute in a wide type: double for every float type, int64_t for signed and uint64_t
// for unsigned integers and bool. Reading converts exactly; writing rounds to nearest even (floats)
// or wraps (integers).

// All elements of `view` converted to W (double, int64_t or uint64_t).
template <class W>
std::vector<W> read_elements(const TensorView& view);
template <class W>
void write_elements(std::span<const W> values, const TensorView& view);
template <class W>
void write_elements(const std::vector<W>& values, const TensorView& view) {
  write_elements(std::span<const W>(values), view);
}

// The elements at flat indices. Not for strings.
template <class W>
std::vector<W> read_elements_at(const TensorView& view, std::span<const int64_t> indices);

// Calls fn(W{}) with the wide type of the dtype. Strings are the caller's own case.
template <class Fn>
decltype(auto) with_wide_type(DType dtype, Fn&& fn) {
  if (is_float(dtype)) return fn(double{});
  if (is_signed_int(dtype)) return fn(int64_t{});
  return fn(uint64_t{});
}

// Calls fn(T{}) with a C++ type of the element's size, for code that only moves elements
// (uint8_t, uint16_t, uint32_t, uint64_t, or std::string).
template <class Fn>
decltype(auto) with_storage_type(DType dtype, Fn&& fn) {
  if (dtype == DType::kString) return fn(std::string{});
  switch (dtype_bytes(dtype)) {
    case 1:
      return fn(uint8_t{});
    case 2:
      return fn(uint16_t{});
    case 4:
      return fn(uint32_t{});
    default:
      return fn(uint64_t{});
  }
}

// The elements of an integer tensor as int64.
inline std::vector<int64_t> read_ints(const TensorView& view) {
  return read_elements<int64_t>(view);
}

// Row-major walk over `dims` with up to any number of operands in step: calls
// fn(flat index in dims, offsets[]) where offsets[k] = sum(index[d] * strides[k][d]).
template <size_t N, class Fn>
void for_each_offset(const Dims& dims, const Dims (&strides)[N], Fn&& fn) {
  int64_t count = dims.count();
  if (count == 0) return;
  int64_t index[kMaxRank] = {};
  int64_t offsets[N] = {};
  int rank = dims.rank();
  for (int64_t flat = 0; flat < count; ++flat) {
    fn(flat, offsets);
    for (int d = rank - 1; d >= 0; --d) {
      auto axis = static_cast<size_t>(d);
      ++index[d];
      for (size_t k = 0; k < N; ++k) offsets[k] += strides[k][axis];
      if (index[d] < dims[axis]) break;
      for (size_t k = 0; k < N; ++k) offsets[k] -= strides[k][axis] * dims[axis];
      index[d] = 0;
    }
  }
}

// Strides of `from` when it is read as if broadcast to `to` (0 along broadcast axes).
Dims broadcast_strides(const Dims& from, const Dims& to);

}  // namespace redline
