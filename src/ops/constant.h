// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// constant(): the value itself. For small constants inside fused bodies; graphs hold constants as
// values without a node.
struct ConstantAttrs {
  Tensor value;
  template <class V>
  void fields(V& v) {
    v("value", value);
  }
};

}  // namespace redline
