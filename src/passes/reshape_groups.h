// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/dims.h"

namespace redline {

// Axes of the one and the other side of a reshape that hold the same elements: [first, last).
struct ReshapeGroup {
  size_t from_first = 0, from_last = 0;
  size_t to_first = 0, to_last = 0;
};

// The finest division of a reshape between sizes of which none is 0 and none is 1. None when the
// counts differ.
std::optional<std::vector<ReshapeGroup>> reshape_groups(const Dims& from, const Dims& to);

// reshape(transpose(x, perm), to) as transpose(reshape(x, sizes), perm').
struct ReshapedTranspose {
  Dims sizes;
  std::vector<int64_t> perm;  // keeps axes of size 1 where they are
  bool is_identity() const;
};
// None where the reshape joins axes that do not lie together in x, or a size is 0.
std::optional<ReshapedTranspose> reshape_first(const Dims& x, const std::vector<int64_t>& perm,
                                               const Dims& to);

}  // namespace redline
