// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace redline {

// rotary_embedding(x, cos, sin, positions?): turns pairs of the first `dim` (0: all) elements of
// each head of x, [batch, heads, sequence, size] or [batch, sequence, heads * size], by angles
// whose cosines and sines are rows of the caches: row positions[b, s] of [rows, dim/2] caches, else
// row [b, s] of [batch, sequence, dim/2] ones. Pairs are (i, i + dim/2), or (2i, 2i+1) when
// interleaved. positions of one element are a start: row positions[0] + s.
struct RotaryEmbeddingAttrs {
  int64_t dim = 0;
  int64_t heads = 0;
  bool interleaved = false;
  template <class V>
  void fields(V& v) {
    v("dim", dim);
    v("heads", heads);
    v("interleaved", interleaved);
  }
};

}  // namespace redline
