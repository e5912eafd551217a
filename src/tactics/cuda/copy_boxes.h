// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "tactics/tactic.h"

// Concatenation, split, slice and constant padding, as copies of boxes.
namespace redline {

// One operand as a box inside the whole: where it begins and its sizes. kDynamicDim: not known.
struct CopyPiece {
  size_t operand = 0;
  std::vector<int64_t> begin, size;
};

// The whole is an input (split, slice) or the output; pieces are of the other side. Its leading
// axes, which nobody cuts, are rows; the others are joined to as few as say where the pieces are.
struct CopyBoxes {
  bool from_whole = false;
  bool fill = false;  // with input 2, or zeros, where no piece is
  size_t row_axes = 0;
  std::vector<int64_t> whole;
  std::vector<CopyPiece> pieces;
  int bytes = 1;  // of an element
  int lanes = 1;  // elements that are copied at once

  // Elements of a box of these sizes.
  static int64_t count(const std::vector<int64_t>& sizes);
};

Result<CopyBoxes> copy_boxes(const Problem& problem);
// Joined as those of what a kernel was written for, where sizes may be unknown.
Result<CopyBoxes> copy_boxes(const Problem& problem, const Problem& written);

}  // namespace redline
