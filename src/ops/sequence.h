// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace redline {

// sequence_empty(): a sequence of tensors of `dtype` without elements.
struct SequenceEmptyAttrs {
  DType dtype = DType::kFloat32;
  template <class V>
  void fields(V& v) {
    v("dtype", dtype);
  }
};

// split_to_sequence(x, split?): the parts of x along `axis`: of the size `split` (the last may be
// smaller) when it has rank 0, of the sizes it lists, or of size 1; these lose the axis unless
// keepdims.
struct SplitToSequenceAttrs {
  int64_t axis = 0;
  bool keepdims = true;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("keepdims", keepdims);
  }
};

// concat_from_sequence(sequence): its tensors joined along `axis`, which is a new one if new_axis.
struct ConcatFromSequenceAttrs {
  int64_t axis = 0;
  bool new_axis = false;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("new_axis", new_axis);
  }
};

// optional(x?): an optional that holds x, or nothing: then of a tensor of `dtype`, or of a sequence
// of such.
struct OptionalAttrs {
  DType dtype = DType::kFloat32;
  bool sequence = false;
  template <class V>
  void fields(V& v) {
    v("dtype", dtype);
    v("sequence", sequence);
  }
};

}  // namespace redline
