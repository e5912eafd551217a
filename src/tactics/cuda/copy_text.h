// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tactics/cuda/copy_boxes.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_sizes.h"

// The text of the kernels of cuda.copy.
namespace redline {

struct CopyKnobs {
  int64_t threads = 0, unroll = 0;
  // Elements of a result that are written at once though they are read singly; 0: as they are read.
  int64_t gathered = 0;
};

// What the statements read, of `boxes`, or of other boxes that have their axes joined as those.
KernelSizes copy_sizes(const CopyBoxes& boxes, const CopyKnobs& knobs);

// Each thread moves a few groups of lanes of a piece, all reads before all writes.
std::string copy_statements(const Problem& problem, const CopyBoxes& boxes, const CopyKnobs& knobs,
                            const KernelSizes& sizes, const ElementWriter& writer);

}  // namespace redline
