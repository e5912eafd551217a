// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ops/axes.h"
#include "ops/elements.h"

namespace redline {

// Writes dst in row-major order of `dims`: the element at index i is src[sum(i[d] * strides[d])].
// Strides may be zero or negative.
template <class T>
void copy_strided(const T* src, const Dims& strides, const Dims& dims, T* dst) {
  if (dims.count() == 0) return;
  if (dims.empty()) {
    *dst = *src;
    return;
  }
  int64_t inner = dims.back();
  int64_t step = strides.back();
  Dims outer(std::span(dims.begin(), dims.size() - 1));
  Dims outer_strides[1] = {Dims(std::span(strides.begin(), strides.size() - 1))};
  for_each_offset(outer, outer_strides, [&](int64_t, const int64_t(&offset)[1]) {
    const T* row = src + offset[0];
    if (step == 1) {
      std::copy_n(row, inner, dst);
    } else {
      for (int64_t i = 0; i < inner; ++i) dst[i] = row[i * step];
    }
    dst += inner;
  });
}

// The same on tensors of one dtype, starting at element `offset` of `in`. `dims` holds as many
// elements as `out`.
inline void copy_strided(const TensorView& in, int64_t offset, const Dims& strides,
                         const Dims& dims, const TensorView& out) {
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    copy_strided(in.as<const T>() + offset, strides, dims, out.as<T>());
  });
}

// For each axis, the source index of each output index; kFill where there is none.
inline constexpr int64_t kFill = -1;
using AxisMaps = std::vector<std::vector<int64_t>>;

// dst[i0, i1, ...] = src[maps[0][i0], maps[1][i1], ...], or `fill` where any map says kFill.
template <class T>
void copy_mapped(const T* src, const Dims& src_dims, const AxisMaps& maps, const T& fill, T* dst) {
  Dims dims;
  for (const auto& map : maps) dims.push_back(static_cast<int64_t>(map.size()));
  if (dims.count() == 0) return;
  if (dims.empty()) {
    *dst = *src;
    return;
  }
  Dims strides = src_dims.strides();
  auto last = dims.size() - 1;
  int64_t rows = dims.count(0, static_cast<int>(last));
  int64_t index[kMaxRank] = {};
  for (int64_t row = 0; row < rows; ++row) {
    int64_t offset = 0;
    bool filled = false;
    for (size_t d = 0; d < last; ++d) {
      int64_t at = maps[d][static_cast<size_t>(index[d])];
      filled |= at == kFill;
      offset += at * strides[d];
    }
    for (int64_t at : maps[last]) *dst++ = filled || at == kFill ? fill : src[offset + at];
    for (size_t d = last; d-- > 0;) {
      if (++index[d] < dims[d]) break;
      index[d] = 0;
    }
  }
}

// The output i that the caller made, when it has these sizes, else a new one.
inline Result<TensorView> output_of_size(ReferenceContext& c, size_t i, DType dtype,
                                         const Dims& dims) {
  if (c.has_output_view(i) && c.output(i).dims == dims) return c.output(i);
  return c.allocate_output(i, dtype, dims);
}

// index in [-size, size) to [0, size).
inline Result<int64_t> normalize_index(int64_t index, int64_t size) {
  if (index < -size || index >= size) {
    return invalid_argument("index ", index, " is out of range for an axis of size ", size);
  }
  return index < 0 ? index + size : index;
}

// All elements of an index tensor, each for an axis of `size`.
inline Result<std::vector<int64_t>> read_indices(const TensorView& view, int64_t size) {
  std::vector<int64_t> indices = read_ints(view);
  for (int64_t& index : indices) {
    REDLINE_ASSIGN(index, normalize_index(index, size));
  }
  return indices;
}

}  // namespace redline
