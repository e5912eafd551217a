// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tactics/cuda/row_ops.h"
#include "tactics/cuda/rows_problem.h"

namespace redline {

// The drivers of kernels/cuda/rows.cuh, columns.cuh, relay.cuh, short_rows.cuh, cluster_rows.cuh,
// teams.cuh and whole_rows.cuh. Configs name them by number.
enum class RowsKernel {
  kRegisters,
  kStreamed,
  kPartsFirst,
  kPartsSecond,
  kPartsLast,
  kColumns,
  kColumnPartsFirst,
  kColumnPartsLast,
  kColumnsInRegisters,
  kRelayReset,
  kRowRelay,
  kColumnRelay,
  kShortRows,
  kRowCluster,
  kColumnCluster,
  kRowTeam = 16,  // 15 was another
  kColumnTeam,
  kRowWhole,
  kColumnWhole
};

struct RowsShape {
  RowsKernel kernel = RowsKernel::kStreamed;
  int threads = 256;
  int across = 32;  // rows: threads a row; columns: threads side by side
  int lanes = 1;    // elements of one access
  // Of lanes: what a thread keeps in registers; in columns of any length, what it reads at once (1:
  // as the op likes it).
  int groups = 1;
  // Of a thread of kRegisters, at once; of one of kShortRows, in turn. Of a team whose blocks wait
  // for each other: parts of a row that each has at once.
  int rows = 1;
  int lag = 0;      // groups between the two passes of a relay
  int cluster = 1;  // blocks of a row
  int team = 1;     // parts of a row of a team
  int pace = 0;     // of whose pieces a block fetches as many boxes at a time; 0: team_pace()
  bool operator==(const RowsShape&) const = default;
};

inline constexpr const char* kRowsEntry = "rows";

// The first output that has an element for each of the source: it goes through shared memory.
size_t team_output(const RowsProblem& rows);

// The kernel of a problem. Its parameters are those of ElementWriter::whole(), then the memory of
// partial states and the number of parts.
Result<ElementKernel> write_rows_kernel(const Problem& problem, const RowsShape& shape);

}  // namespace redline
