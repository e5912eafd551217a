// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/rows_teams.h"

#include <algorithm>

#include "base/checked.h"

namespace redline {
namespace {

// As kernels/cuda/teams.cuh has them: pieces in registers, and as many as a block may have of a row
// there and in shared memory (whole_rows.cuh); accesses of a thread in a box; boxes of a
// piece; what is kept: a number for each block, then 16 bytes for each state.
constexpr int kFewestHeld = 2;
constexpr int kMostHeld = 4;
constexpr int kMostWhole = 4;
constexpr int kRowBox = 2;
constexpr int kColumnBox = 8;
constexpr int kMostBoxes = 4;
constexpr int64_t kHeader = 1024;
constexpr int64_t kNumberBytes = 4;
constexpr int64_t kToldBytes = 16;
// Pieces in shared memory: of small ones more than are needed, so that none waits for another.
constexpr int kFewestSlots = 3;
constexpr int kMostSlots = 6;
constexpr int64_t kSlotsBytes = 192 << 10;
// The copy engine's limits, and what it wants rows to begin at.
constexpr int kBoxRows = 256;
constexpr int64_t kMapAlignment = 16;
constexpr int64_t kMostSide = 1 << 30;

bool in_rows(const RowsShape& shape) { return !in_team_columns(shape.kernel); }

int bytes_of_access(const RowsShape& shape) { return in_rows(shape) ? 16 : 4; }

int64_t slot_bytes(const RowsShape& shape) {
  return int64_t{shape.threads} * shape.groups * bytes_of_access(shape);
}

int box_accesses(const RowsShape& shape) { return in_rows(shape) ? kRowBox : kColumnBox; }

// Small pieces leave registers for more of them.
int most_held(const RowsShape& shape) {
  return shape.groups <= 2 * box_accesses(shape) ? kMostHeld : kFewestHeld;
}

// Threads of a column.
int64_t down(const RowsShape& shape) { return shape.threads / shape.across; }

// Rows, or columns side by side, that are taken together.
int64_t groups_of(const RowsShape& shape, const RowsProblem& rows) {
  int64_t count = rows.known_size(false).value_or(0);
  if (in_rows(shape)) return count;
  int64_t side = columns_side_by_side(rows);
  return count / std::max<int64_t>(1, side) * divide_up(side, team_states(shape));
}

// Axes of rows in front of those along them; then, in columns, others.
bool is_in_order(const RowsProblem& rows) {
  auto axis = rows.axes.begin();
  while (axis != rows.axes.end() && !axis->reduced) ++axis;
  while (axis != rows.axes.end() && axis->reduced) ++axis;
  return std::all_of(axis, rows.axes.end(), [](const RowAxis& a) { return !a.reduced; });
}

}  // namespace

bool can_be_team(const Problem& problem, const RowsProblem& rows) {
  Body body = body_of(problem);
  std::string_view op = body.nodes[static_cast<size_t>(rows.anchor)].op->name;
  if (rows.source >= body.num_inputs || !is_in_order(rows)) return false;
  if (op == "hardmax" || op.starts_with("arg_")) return false;
  DType source = problem.inputs[static_cast<size_t>(rows.source)].dtype;
  bool states =
      source == DType::kFloat16 || source == DType::kBFloat16 || source == DType::kFloat32;
  if (!states || std::count(rows.row_outputs.begin(), rows.row_outputs.end(), false) != 1) {
    return false;
  }
  const std::vector<std::string>& dims = rows.dims[static_cast<size_t>(rows.source)];
  for (size_t axis = 0; axis < rows.axes.size(); ++axis) {
    bool wanted = rows.axes[axis].reduced || !rows.last_is_reduced();
    if (wanted && !rows.axes[axis].known) return false;
    if (dims[axis] != rows.axes[axis].size) return false;
  }
  return dtype_bytes(problem.outputs[team_output(rows)].dtype) == dtype_bytes(source);
}

bool is_team(const RowsShape& shape, int64_t length, int64_t side, int bytes) {
  int box = box_accesses(shape);
  int most_at_once = team_waits(shape) ? kFewestHeld : 1;
  if (shape.rows < 1 || shape.rows > most_at_once || shape.team % shape.rows != 0) return false;
  if (shape.pace > (team_waits(shape) ? kMostBoxes : 0)) return false;
  if (shape.lanes * bytes != bytes_of_access(shape) || shape.threads > 512 ||
      shape.groups % box != 0 || shape.groups > kMostBoxes * box || length < 1) {
    return false;
  }
  bool whole = is_whole(shape.kernel);
  if (whole && (shape.team <= kFewestHeld || shape.team > kMostWhole)) return false;
  if (in_rows(shape)) return shape.across == shape.threads && length % shape.lanes == 0;
  // A thread at least for each column.
  if (whole && team_states(shape) > shape.threads) return false;
  return shape.across >= 4 && shape.across <= (whole ? 64 : 32) &&
         kColumnBox * down(shape) <= kBoxRows && side >= 1 && side <= kMostSide &&
         side * bytes % kMapAlignment == 0 && length <= kMostSide;
}

int64_t longest_of_team(const RowsShape& shape) {
  if (in_rows(shape)) return int64_t{shape.threads} * shape.groups * shape.lanes;
  return down(shape) * shape.groups;
}

int64_t columns_side_by_side(const RowsProblem& rows) {
  int64_t side = 1;
  for (auto axis = rows.axes.rbegin(); axis != rows.axes.rend() && !axis->reduced; ++axis) {
    side *= axis->known.value_or(1);
  }
  return side;
}

bool team_waits(const RowsShape& shape) {
  return is_team(shape.kernel) && !is_whole(shape.kernel) && shape.team > most_held(shape);
}

int team_turn(const RowsShape& shape) { return team_waits(shape) ? shape.rows : shape.team; }

// A block that hears of no other makes results soon.
int team_held(const RowsShape& shape) {
  return team_waits(shape) ? most_held(shape) : std::max(kFewestHeld, team_turn(shape));
}

int team_members(const RowsShape& shape) { return shape.team / team_turn(shape); }

// Blocks that have two parts at once wait longer for each other, and less is lost by fewer boxes.
int team_pace(const RowsShape& shape) {
  return shape.pace > 0 ? shape.pace : team_turn(shape) > 1 ? 2 : 3;
}

int64_t team_blocks(const RowsShape& shape, const RowsProblem& rows, int64_t multiprocessors) {
  int64_t members = team_members(shape);
  int64_t most = std::min(multiprocessors, kHeader / kNumberBytes);
  // Who waits at the end of each turn does so for none that has another one to do before.
  if (shape.rows > 1 && members <= most) most -= most % members;
  return std::min(groups_of(shape, rows) * members, most);
}

int64_t team_states(const RowsShape& shape) {
  return in_rows(shape) ? 1 : int64_t{shape.across} * shape.lanes;
}

// Barriers, then states of 4 bytes from each warp, twice, and four statistics of up to 16. Where a
// block has all of a row it needs them once, and how many elements each warp has.
int64_t team_header_bytes(const RowsShape& shape) {
  int64_t warps = shape.threads / 32;
  if (is_whole(shape.kernel)) {
    int64_t side = in_rows(shape) ? 1 : std::max(1, shape.across / 32);
    return divide_up(512 + 8 * warps + team_states(shape) * (warps / side * 8 + 16), 128) * 128;
  }
  return divide_up(512 + team_states(shape) * (2 * warps * 8 + 4 * 16), 128) * 128;
}

int rows_threads(const RowsShape& shape) {
  if (!is_team(shape.kernel)) return shape.threads;
  if (is_whole(shape.kernel)) return shape.threads + 32;
  // Some hear of others.
  int64_t hearing = team_waits(shape) ? divide_up(team_states(shape), 32) : 0;
  return shape.threads + static_cast<int>(64 + 32 * hearing);
}

int team_slots(const RowsShape& shape) {
  if (is_whole(shape.kernel)) return kFewestSlots;
  return std::clamp(static_cast<int>(kSlotsBytes / slot_bytes(shape)), kFewestSlots, kMostSlots);
}

unsigned int team_shared_bytes(const RowsShape& shape) {
  return static_cast<unsigned int>(team_header_bytes(shape) +
                                   team_slots(shape) * slot_bytes(shape));
}

size_t team_kept_bytes(const RowsShape& shape, const RowsProblem& rows) {
  if (!team_waits(shape)) return 0;
  int64_t told = groups_of(shape, rows) * team_members(shape);
  return static_cast<size_t>(kHeader + told * team_states(shape) * kToldBytes);
}

cuda::TensorMap::Shape team_map(const RowsShape& shape, const RowsProblem& rows) {
  // It counts in 2 bytes.
  int64_t words = bytes_of_access(shape) / shape.lanes / 2;
  int64_t side = columns_side_by_side(rows);
  cuda::TensorMap::Shape map;
  map.rows = rows.known_size(true).value_or(0);
  map.columns = map.stride = side * words;
  map.box_rows = kColumnBox * down(shape);
  map.box_columns = team_states(shape) * words;
  map.matrices = rows.known_size(false).value_or(0) / side;
  return map;
}

}  // namespace redline
