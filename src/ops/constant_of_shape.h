// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// constant_of_shape(shape): a tensor of the given sizes filled with the one element of `value`
// (float32 zero when unset).
struct ConstantOfShapeAttrs {
  std::optional<Tensor> value;
  template <class V>
  void fields(V& v) {
    v("value", value);
  }
};

}  // namespace redline
