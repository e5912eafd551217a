// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ops/op.h"

namespace redline {

// Axes in [-rank, rank) to [0, rank), in the given order; a repeat is an error.
inline Result<std::vector<int>> normalize_axes(const InferContext& c, std::span<const int64_t> axes,
                                               int rank) {
  std::vector<int> result;
  std::vector<bool> seen(static_cast<size_t>(rank));
  for (int64_t axis : axes) {
    REDLINE_ASSIGN(int at, c.normalize_axis(axis, rank));
    if (seen[static_cast<size_t>(at)]) return c.error(str_cat("axis ", axis, " is named twice"));
    seen[static_cast<size_t>(at)] = true;
    result.push_back(at);
  }
  return result;
}

inline Status check_output_rank(const InferContext& c, int64_t rank) {
  if (rank <= kMaxRank) return {};
  return c.error(str_cat("the output would have rank ", rank, ", the most is ", kMaxRank));
}

// The number of elements of the rank-1 input i, when known.
inline std::optional<int64_t> const_length(const InferContext& c, size_t i) {
  if (!c.has_input(i) || !c.shape(i).has_rank() || c.shape(i).rank() != 1) return std::nullopt;
  return c.shape(i)[0].as_const();
}

// `rank` sizes that nothing is known about.
inline SymDims fresh_dims(InferContext& c, int64_t rank, std::string_view hint) {
  SymDims dims;
  for (int64_t i = 0; i < rank; ++i) dims.push_back(c.fresh_symbol(hint));
  return dims;
}

// True when both are constants and differ: sizes that can never agree.
inline bool conflict(const Dim& a, const Dim& b) { return a.is_const() && b.is_const() && a != b; }

// Whether a size is not 1, whatever its symbols are.
inline bool is_never_one(const Dim& size) {
  return size.is_const() ? size != Dim(1) : size.lower_bound() > 1;
}

// Of two sizes that agree, the one that tells more.
inline const Dim& known_dim(const Dim& a, const Dim& b) { return a.is_const() ? a : b; }

// Whether shape arithmetic on a tensor of these sizes is followed element by element.
inline bool tracks_contents(const Dims& dims) { return dims.count() <= 1024; }

}  // namespace redline
