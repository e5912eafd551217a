// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tactics/cuda/row_ops.h"
#include "tactics/cuda/rows_problem.h"

namespace redline {

// The drivers of kernels/cuda/rows.cuh and columns.cuh.
enum class RowsKernel {
  kRegisters,
  kStreamed,
  kPartsFirst,
  kPartsSecond,
  kPartsLast,
  kColumns,
  kColumnPartsFirst,
  kColumnPartsLast
};

struct RowsShape {
  RowsKernel kernel = RowsKernel::kStreamed;
  int threads = 256;
  int across = 32;  // rows: threads a row; columns: threads side by side
  int lanes = 1;    // elements of one access
  int groups = 1;   // of lanes a thread keeps in registers
};

inline constexpr const char* kRowsEntry = "rows";

// The kernel of a problem. Its parameters are those of ElementWriter::whole(), then the memory of
// partial states and the number of parts.
Result<ElementKernel> write_rows_kernel(const Problem& problem, const RowsShape& shape);

}  // namespace redline
