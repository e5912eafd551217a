// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/tensor_map.h"
#include "tactics/cuda/rows_text.h"

// Rows and columns that blocks have pieces of in turns (kernels/cuda/teams.cuh), or all pieces of
// (whole_rows.cuh).
namespace redline {

// Parts of a row.
inline constexpr int64_t kMostTeam = 160;

// Whether the rows, or columns of known sizes, lie together in an input, and in one output the
// results of their elements, which are as large; states of floats.
bool can_be_team(const Problem& problem, const RowsProblem& rows);

inline bool is_whole(RowsKernel kernel) {
  return kernel == RowsKernel::kRowWhole || kernel == RowsKernel::kColumnWhole;
}
inline bool in_team_columns(RowsKernel kernel) {
  return kernel == RowsKernel::kColumnTeam || kernel == RowsKernel::kColumnWhole;
}
inline bool is_team(RowsKernel kernel) {
  return kernel == RowsKernel::kRowTeam || kernel == RowsKernel::kColumnTeam || is_whole(kernel);
}

// Whether there is such a kernel, for elements of `bytes` of which `length` make a row and `side`
// lie side by side.
bool is_team(const RowsShape& shape, int64_t length, int64_t side, int bytes);

// Elements of a row in a piece.
int64_t longest_of_team(const RowsShape& shape);

// Columns that lie side by side in each matrix; 1: the problem is one of rows.
int64_t columns_side_by_side(const RowsProblem& rows);

// Whether blocks wait for each other: none has all parts of a row. How many it has at once, and how
// many blocks have parts of the same row.
bool team_waits(const RowsShape& shape);
int team_turn(const RowsShape& shape);
int team_held(const RowsShape& shape);
int team_members(const RowsShape& shape);
int team_pace(const RowsShape& shape);
// How many there are of a grid; fewer than wait for each other: the GPU has no room for them.
int64_t team_blocks(const RowsShape& shape, const RowsProblem& rows, int64_t multiprocessors);

// Pieces that a block has in shared memory.
int team_slots(const RowsShape& shape);
// States of a piece; bytes of shared memory in front of the slots, and of a block; bytes that are
// kept from run to run.
int64_t team_states(const RowsShape& shape);
int64_t team_header_bytes(const RowsShape& shape);
// All threads of a block, also those that do not compute.
int rows_threads(const RowsShape& shape);
unsigned int team_shared_bytes(const RowsShape& shape);
size_t team_kept_bytes(const RowsShape& shape, const RowsProblem& rows);

// How the copy engine sees the columns of the source and of the result.
cuda::TensorMap::Shape team_map(const RowsShape& shape, const RowsProblem& rows);

}  // namespace redline
