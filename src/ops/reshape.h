// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// reshape(data, shape?): the target sizes come from `sizes` when it is set (symbolic, no -1 or 0
// codes), else from the input `shape` with ONNX's codes: 0 copies the input's size (unless
// allow_zero), one -1 takes the rest.
struct ReshapeAttrs {
  std::optional<SymDims> sizes;
  bool allow_zero = false;
  template <class V>
  void fields(V& v) {
    v("sizes", sizes);
    v("allow_zero", allow_zero);
  }
};

}  // namespace redline
