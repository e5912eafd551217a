// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "ops/attrs.h"

namespace redline {

enum class DepthOrder : uint8_t { kDcr, kCrd };
constexpr std::array<std::string_view, 2> enum_names(DepthOrder) { return {"DCR", "CRD"}; }

// space_to_depth(data) and its inverse depth_to_space(data) on NCHW: blocks of blocksize x
// blocksize pixels against channels. DCR has the pixel outside the channel, CRD the channel
// outside.
struct SpaceToDepthAttrs {
  int64_t blocksize = 0;
  DepthOrder mode = DepthOrder::kDcr;
  template <class V>
  void fields(V& v) {
    v("blocksize", blocksize);
    v("mode", mode);
  }
};

}  // namespace redline
