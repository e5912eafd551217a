// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace redline {

// Axes of the one and the other side of a reshape that hold the same elements: [first, last).
struct ReshapeGroup {
  size_t from_first = 0, from_last = 0;
  size_t to_first = 0, to_last = 0;
};

// The finest division of a reshape, as far as it holds for all values of the symbols, between sizes
// of which none is 0 and none is 1. None when the counts are not known to be equal.
std::optional<std::vector<ReshapeGroup>> reshape_groups(const SymDims& from, const SymDims& to);

// reshape(transpose(x, perm), to) as transpose(reshape(x, sizes), perm').
struct ReshapedTranspose {
  SymDims sizes;              // those of `to`, in another order
  std::vector<int64_t> perm;  // keeps axes of size 1 where they are
  bool is_identity() const;
};
// None where the reshape joins axes that do not lie together in x, or a size is 0.
std::optional<ReshapedTranspose> reshape_first(const SymDims& x, const std::vector<int64_t>& perm,
                                               const SymDims& to);
// The axes whose size is not 1.
std::vector<size_t> long_axes(const SymDims& dims);
SymDims sizes_of(const SymDims& dims, const std::vector<size_t>& axes);

}  // namespace redline
