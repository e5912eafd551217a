// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tactics/cuda/element_writer.h"

// What reductions, softmax and normalisations have in common: the elements of a value fall into
// rows, each row has a statistic, and results are made of that (one a row) or of that and the
// element.
namespace redline {

// Neighbouring axes that all operands treat alike, seen as one.
struct RowAxis {
  std::string size;  // a number, or an expression of parameters
  std::optional<int64_t> known;
  bool reduced = false;      // along a row, not from row to row
  std::vector<size_t> from;  // the source's axes
};

struct RowsProblem {
  int anchor = 0;             // the node of the body that reduces
  int source = 0;             // the value whose elements make the rows
  std::vector<RowAxis> axes;  // of the source
  // Values of the body along these axes: the axis' size, "1" where broadcast, or the name of a size
  // that is one of both. Empty for those that nothing reads.
  std::vector<std::vector<std::string>> dims;
  // The source's sizes before axes were joined, and those of the inputs that are read.
  std::vector<std::string> sizes;
  std::vector<std::vector<std::string>> aligned;
  std::vector<bool> row_outputs;  // of the problem: one element a row, or one for each element

  bool applies() const;  // whether an output has one for each element
  bool last_is_reduced() const { return axes.back().reduced; }
  // The product of the sizes from row to row, or along a row.
  std::string size(bool reduced) const;
  std::optional<int64_t> known_size(bool reduced) const;
};

inline bool is_number(const std::string& size) {
  return !size.empty() && size[0] >= '0' && size[0] <= '9';
}

// Why not, when the writer's problem is no such thing.
Result<RowsProblem> describe_rows(const Problem& problem, const ElementWriter& writer);

}  // namespace redline
