// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tactics/cuda/element_writer.h"

namespace redline {

// How an op reduces rows, as text for kernels/cuda/rows.cuh.
struct RowOp {
  std::string text;       // "struct Op {...};"
  bool twice = false;     // a second state, of what the first one makes of the elements
  bool in_place = false;  // store() gets transformed elements
};

// `raw`: the elements themselves are wanted too when results are stored.
RowOp write_row_op(const BodyNode& anchor, DType source, bool applies, bool raw);

// The anchor's output `number` of an element or of a row. `x` is the element as store() gets it,
// `stat` its row's, `k` its place in the row; `weight`, which is `small` if no scale makes it leave
// the range of float, and `bias` are "" when there are none.
std::string row_result(const BodyNode& anchor, size_t number, DType source, const std::string& x,
                       const std::string& stat, const std::string& k, const std::string& weight,
                       bool small, const std::string& bias);

}  // namespace redline
