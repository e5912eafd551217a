// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// col2im(columns [n, c * prod(block_shape), blocks], image_shape, block_shape): the sum of all
// blocks at their places in images [n, c, image_shape...]. Empty lists mean 1s (pads: 0s).
struct Col2ImAttrs {
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  std::vector<int64_t> strides;
  template <class V>
  void fields(V& v) {
    v("dilations", dilations);
    v("pads", pads);
    v("strides", strides);
  }
};

}  // namespace redline
