// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/rows_team.h"

#include <algorithm>

#include "base/checked.h"

namespace redline {
namespace {

// As kernels/cuda/row_team.cuh has them: pieces in shared memory, and what is there beside them;
// pieces between reducing and applying; what a team keeps beside 16 bytes for each block and row.
constexpr int64_t kSlots = 6;
constexpr int64_t kSharedBytes = 2048;
constexpr int64_t kLag = 3;
constexpr int64_t kHeader = 128;
constexpr int64_t kAccess = 16;
// Where pieces begin, in accesses.
constexpr int64_t kPieceUnit = 8;

int64_t accesses_of_piece(const RowsShape& shape) { return int64_t{shape.threads} * shape.groups; }

}  // namespace

bool can_be_team(const Problem& problem, const RowsProblem& rows) {
  Body body = body_of(problem);
  std::string_view op = body.nodes[static_cast<size_t>(rows.anchor)].op->name;
  if (rows.source >= body.num_inputs || !rows.last_is_reduced()) return false;
  if (op == "hardmax" || op.starts_with("arg_")) return false;
  DType source = problem.inputs[static_cast<size_t>(rows.source)].dtype;
  bool states =
      source == DType::kFloat16 || source == DType::kBFloat16 || source == DType::kFloat32;
  if (!states || std::count(rows.row_outputs.begin(), rows.row_outputs.end(), false) != 1) {
    return false;
  }
  const std::vector<std::string>& dims = rows.dims[static_cast<size_t>(rows.source)];
  for (size_t axis = 0; axis < rows.axes.size(); ++axis) {
    if (rows.axes[axis].reduced && !rows.axes[axis].known) return false;
    if (dims[axis] != rows.axes[axis].size) return false;
  }
  auto before = [](const RowAxis& a, const RowAxis& b) { return !a.reduced && b.reduced; };
  return std::is_sorted(rows.axes.begin(), rows.axes.end(), before) &&
         dtype_bytes(problem.outputs[team_output(rows)].dtype) == dtype_bytes(source);
}

bool is_team(const RowsShape& shape, int64_t length, int bytes) {
  return shape.lanes * bytes == kAccess && length % shape.lanes == 0 && shape.threads <= 512 &&
         shape.across == shape.threads && shape.rows <= 2 && shape.groups <= 4;
}

int64_t longest_of_team(const RowsShape& shape, int64_t blocks) {
  int64_t piece = accesses_of_piece(shape) / kPieceUnit * kPieceUnit;
  return blocks * shape.rows * piece * shape.lanes;
}

// As few as hold it, or up to twice as many where then more multiprocessors have something to do.
std::optional<int64_t> team_blocks(const RowsShape& shape, int64_t rows, int64_t length,
                                   int64_t multiprocessors) {
  int64_t least = std::max<int64_t>(1, divide_up(length, longest_of_team(shape, 1)));
  std::optional<int64_t> best;
  double best_time = 0;
  for (int64_t blocks = least; blocks <= std::min(2 * least, multiprocessors); ++blocks) {
    double time = static_cast<double>(divide_up(rows, multiprocessors / blocks)) /
                  static_cast<double>(blocks);
    if (best && time >= best_time) continue;
    best = blocks;
    best_time = time;
  }
  return best;
}

unsigned int team_shared_bytes(const RowsShape& shape) {
  return static_cast<unsigned int>(kSharedBytes + kSlots * accesses_of_piece(shape) * kAccess);
}

size_t team_kept_bytes(const RowsShape& shape, int64_t grid, int64_t blocks) {
  int64_t rows = 2 * ((kLag + 1) / shape.rows + 1);
  return static_cast<size_t>(grid / blocks * (kHeader + rows * blocks * kAccess));
}

}  // namespace redline
