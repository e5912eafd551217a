// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "tactics/cuda/rows_text.h"

// Rows that teams of blocks hold together in shared memory (kernels/cuda/row_team.cuh).
namespace redline {

// Blocks of a team.
inline constexpr int64_t kMostTeam = 160;

// Whether the rows lie together in an input, and in one output the results of their elements, which
// are as large; states of floats.
bool can_be_team(const Problem& problem, const RowsProblem& rows);

// Whether there is such a kernel, for rows of `length` elements of `bytes`.
bool is_team(const RowsShape& shape, int64_t length, int bytes);

// Elements of a row of which a block holds its part.
int64_t longest_of_team(const RowsShape& shape, int64_t blocks);

// How many blocks should hold a row, of so many that run at once; none can: empty.
std::optional<int64_t> team_blocks(const RowsShape& shape, int64_t rows, int64_t length,
                                   int64_t multiprocessors);

unsigned int team_shared_bytes(const RowsShape& shape);

// What the teams of a grid keep from run to run, in bytes.
size_t team_kept_bytes(const RowsShape& shape, int64_t grid, int64_t blocks);

}  // namespace redline
