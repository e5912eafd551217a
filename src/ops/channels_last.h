// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/dims.h"
#include "core/type.h"

namespace redline {

// Ops over images with `channels_last` take and make [n, spatial..., c]; their rules are written
// for [n, c, spatial...] and go through these. Sizes of rank 2 and more.

template <class Sizes>
Sizes channels_to_front(Sizes sizes) {
  std::rotate(sizes.begin() + 1, sizes.end() - 1, sizes.end());
  return sizes;
}
template <class Sizes>
Sizes channels_to_back(Sizes sizes) {
  std::rotate(sizes.begin() + 1, sizes.begin() + 2, sizes.end());
  return sizes;
}

// A shape as the op's rule sees it.
inline Shape image_shape(const Shape& shape, bool channels_last) {
  if (!channels_last || !shape.has_rank() || shape.rank() < 3) return shape;
  return Shape(channels_to_front(SymDims(shape.dims().begin(), shape.dims().end())));
}
// And back.
inline Shape stored_shape(const Shape& shape, bool channels_last) {
  if (!channels_last || !shape.has_rank() || shape.rank() < 3) return shape;
  return Shape(channels_to_back(SymDims(shape.dims().begin(), shape.dims().end())));
}
inline Dims image_dims(const Dims& dims, bool channels_last) {
  return channels_last ? channels_to_front(dims) : dims;
}

// Elements of [n, s, c] as [n, c, s] for to_front, else the other way round; `dims` are
// [n, c, spatial...].
template <class T>
std::vector<T> move_channels(const std::vector<T>& from, const Dims& dims, bool to_front) {
  std::vector<T> to(from.size());
  int64_t channels = dims[1];
  int64_t area = dims.count(2, dims.rank());
  for (int64_t n = 0; n < dims[0]; ++n) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t s = 0; s < area; ++s) {
        auto front = static_cast<size_t>((n * channels + c) * area + s);
        auto back = static_cast<size_t>((n * area + s) * channels + c);
        to[to_front ? front : back] = from[to_front ? back : front];
      }
    }
  }
  return to;
}

}  // namespace redline
