// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "tactics/cuda/rows_text.h"
#include "tactics/knob.h"

namespace redline {

// One way to carry a problem of rows out: its kernels in turn.
struct RowsWay {
  std::vector<RowsShape> launches;
  int parts = 1;
  bool wide = false;  // 64-bit indices
  bool operator==(const RowsWay&) const = default;
};

// Those worth trying for known sizes, best guess first.
std::vector<Config> rows_configs(const Problem& problem, const RowsProblem& rows);

// Clusters are there since sm_90; only data-centre GPUs have those of more than 8 blocks.
inline constexpr int kPortableCluster = 8;
bool rows_config_fits(const Config& config, const cuda::DeviceInfo& device);

// What a config stands for, then what is taken when sizes turn out to be others than it is for.
Result<std::vector<RowsWay>> rows_ways(const Problem& problem, const RowsProblem& rows,
                                       const Config& config);

// Whether a way that was written for some sizes takes these.
bool rows_way_takes(const RowsWay& way, const RowsProblem& written, const RowsProblem& rows,
                    int64_t length);

int64_t rows_blocks(const RowsShape& shape, const RowsProblem& rows, int64_t parts, bool applies,
                    int multiprocessors);
// Dynamic shared memory of a block.
unsigned int rows_shared_bytes(const RowsShape& shape);
// Bytes for the states that kernels of a way leave to the next.
size_t rows_workspace(const RowsWay& way, int64_t rows);

}  // namespace redline
