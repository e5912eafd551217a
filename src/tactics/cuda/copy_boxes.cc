// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/copy_boxes.h"

#include <algorithm>
#include <numeric>

#include "ops/concat.h"
#include "ops/elements.h"
#include "ops/pad.h"
#include "ops/split.h"
#include "tactics/cuda/kernel_sizes.h"

namespace redline {
namespace {

constexpr size_t kMostPieces = 64;
constexpr int kAccessBytes = 16;

Result<std::vector<int64_t>> known_ints(const Problem& problem, size_t i) {
  const OperandDesc& operand = problem.inputs[i];
  if (operand.constant == nullptr) return unsupported("takes known places only");
  return read_elements<int64_t>(operand.constant->view());
}

bool is_given(const Problem& problem, size_t i) {
  return i < problem.inputs.size() && problem.inputs[i].present;
}

Status check_operand(const OperandDesc& operand, DType dtype) {
  if (!operand.is_tensor || !operand.has_rank) return unsupported("takes tensors of known rank");
  if (operand.dtype != dtype) return unsupported("takes operands of one type");
  return {};
}

Result<size_t> checked_axis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank) return unsupported("no such axis");
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

// Boxes before axes are joined. An axis that is not `cut` all pieces have from end to end.
struct OpBoxes {
  CopyBoxes boxes;
  std::vector<bool> cut;
};

// The sizes from the first axis that is cut on.
std::vector<int64_t> sizes_behind(const Dims& dims, size_t from) {
  return {dims.begin() + static_cast<int64_t>(from), dims.end()};
}

// Pieces one after another along an axis.
Result<OpBoxes> along_axis(const OperandDesc& whole, const std::vector<OperandDesc>& pieces,
                           int64_t given_axis, bool from_whole) {
  OpBoxes result;
  CopyBoxes& boxes = result.boxes;
  boxes.from_whole = from_whole;
  REDLINE_ASSIGN(boxes.row_axes, checked_axis(given_axis, whole.dims.rank()));
  boxes.whole = sizes_behind(whole.dims, boxes.row_axes);
  result.cut.resize(boxes.whole.size(), false);
  result.cut[0] = true;
  int64_t begin = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    REDLINE_TRY(check_operand(pieces[i], whole.dtype));
    if (pieces[i].dims.rank() != whole.dims.rank()) return unsupported("pieces of another rank");
    CopyPiece piece{i, std::vector<int64_t>(boxes.whole.size(), 0),
                    sizes_behind(pieces[i].dims, boxes.row_axes)};
    piece.begin[0] = begin;
    begin = known_sum(begin, piece.size[0]);
    boxes.pieces.push_back(std::move(piece));
  }
  return result;
}

// One piece, of sizes `inside`, that begins at `begins` of the whole; an axis may be cut only where
// it says so.
Result<OpBoxes> one_piece(const Dims& whole, const Dims& inside, const std::vector<int64_t>& begins,
                          const std::vector<bool>& cut) {
  OpBoxes result;
  CopyBoxes& boxes = result.boxes;
  boxes.row_axes = static_cast<size_t>(std::find(cut.begin(), cut.end(), true) - cut.begin());
  if (boxes.row_axes == cut.size()) return unsupported("cuts nothing");
  auto from = static_cast<int64_t>(boxes.row_axes);
  boxes.whole = sizes_behind(whole, boxes.row_axes);
  CopyPiece piece;
  piece.size = sizes_behind(inside, boxes.row_axes);
  piece.begin.assign(begins.begin() + from, begins.end());
  boxes.pieces.push_back(std::move(piece));
  result.cut.assign(cut.begin() + from, cut.end());
  return result;
}

Result<OpBoxes> slice_boxes(const Problem& problem) {
  const Dims& whole = problem.inputs[0].dims;
  const Dims& inside = problem.outputs[0].dims;
  REDLINE_ASSIGN(std::vector<int64_t> starts, known_ints(problem, 1));
  REDLINE_ASSIGN(std::vector<int64_t> ends, known_ints(problem, 2));
  std::vector<int64_t> axes(starts.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (is_given(problem, 3)) {
    REDLINE_ASSIGN(axes, known_ints(problem, 3));
  }
  if (is_given(problem, 4)) {
    REDLINE_ASSIGN(std::vector<int64_t> steps, known_ints(problem, 4));
    bool ones = std::all_of(steps.begin(), steps.end(), [](int64_t step) { return step == 1; });
    if (!ones) return unsupported("takes steps of 1");
  }
  std::vector<int64_t> begins(whole.size(), 0);
  std::vector<bool> cut(whole.size(), false);
  for (size_t i = 0; i < axes.size(); ++i) {
    REDLINE_ASSIGN(size_t axis, checked_axis(axes[i], whole.rank()));
    int64_t size = whole[axis];
    if (starts[i] == 0 && ends[i] >= INT32_MAX) continue;
    cut[axis] = true;
    if (size == kDynamicDim) {
      // Where a piece behind the end begins does not matter: it is empty.
      begins[axis] = starts[i] < 0 ? kDynamicDim : starts[i];
      continue;
    }
    int64_t start = starts[i] < 0 ? starts[i] + size : starts[i];
    begins[axis] = std::clamp<int64_t>(start, 0, size);
  }
  REDLINE_ASSIGN(OpBoxes boxes, one_piece(whole, inside, begins, cut));
  boxes.boxes.from_whole = true;
  return boxes;
}

Result<OpBoxes> pad_boxes(const Problem& problem) {
  const Dims& inside = problem.inputs[0].dims;
  const Dims& whole = problem.outputs[0].dims;
  if (problem.attrs.as<PadAttrs>().mode != PadMode::kConstant) {
    return unsupported("pads with a constant only");
  }
  REDLINE_ASSIGN(std::vector<int64_t> pads, known_ints(problem, 1));
  std::vector<int64_t> axes(inside.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (is_given(problem, 3)) {
    REDLINE_ASSIGN(axes, known_ints(problem, 3));
  }
  if (pads.size() != 2 * axes.size()) return unsupported("a pad without its end");
  if (is_given(problem, 2)) {
    REDLINE_TRY(check_operand(problem.inputs[2], problem.inputs[0].dtype));
  }
  std::vector<int64_t> begins(whole.size(), 0);
  std::vector<bool> cut(whole.size(), false);
  for (size_t i = 0; i < axes.size(); ++i) {
    REDLINE_ASSIGN(size_t axis, checked_axis(axes[i], whole.rank()));
    int64_t end = pads[axes.size() + i];
    if (pads[i] < 0 || end < 0) return unsupported("a pad that crops");
    begins[axis] = pads[i];
    cut[axis] = pads[i] != 0 || end != 0;
  }
  REDLINE_ASSIGN(OpBoxes boxes, one_piece(whole, inside, begins, cut));
  boxes.boxes.fill = true;
  return boxes;
}

Result<OpBoxes> boxes_of_op(const Problem& problem) {
  if (problem.is("concat")) {
    return along_axis(problem.outputs[0], problem.inputs, problem.attrs.as<ConcatAttrs>().axis,
                      false);
  }
  if (problem.is("split")) {
    return along_axis(problem.inputs[0], problem.outputs, problem.attrs.as<SplitAttrs>().axis,
                      true);
  }
  return problem.is("slice") ? slice_boxes(problem) : pad_boxes(problem);
}

Result<OpBoxes> checked_boxes(const Problem& problem) {
  const OperandDesc& first = problem.inputs[0];
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (operand.present && (!operand.is_tensor || !operand.has_rank)) {
        return unsupported("takes tensors of known rank");
      }
    }
  }
  if (first.dtype == DType::kString || dtype_bits(first.dtype) < 8 ||
      dtype_bytes(first.dtype) > 8) {
    return unsupported("takes elements of 1 to 8 bytes");
  }
  if (problem.outputs[0].dims.empty()) return unsupported("takes no scalars");
  REDLINE_ASSIGN(OpBoxes boxes, boxes_of_op(problem));
  boxes.boxes.bytes = static_cast<int>(dtype_bytes(first.dtype));
  if (boxes.boxes.pieces.size() > kMostPieces) {
    return unsupported("more than ", kMostPieces, " pieces");
  }
  return boxes;
}

// Which axes are joined to those before them: all pieces have all of them.
std::vector<bool> full_axes(const OpBoxes& boxes) {
  std::vector<bool> full(boxes.cut.size(), false);
  for (size_t axis = 1; axis < full.size(); ++axis) {
    int64_t size = boxes.boxes.whole[axis];
    bool known = size != kDynamicDim;
    bool same = true;
    for (const CopyPiece& piece : boxes.boxes.pieces) {
      known = known && piece.size[axis] != kDynamicDim;
      same = same && piece.size[axis] == size;
    }
    full[axis] = known ? same : !boxes.cut[axis];
  }
  return full;
}

void join_axes(CopyBoxes& boxes, const std::vector<bool>& full) {
  for (size_t axis = full.size(); axis-- > 1;) {
    if (!full[axis]) continue;
    int64_t size = boxes.whole[axis];
    for (const CopyPiece& piece : boxes.pieces) size = known_or(size, piece.size[axis]);
    auto join = [&](std::vector<int64_t>& sizes) {
      sizes[axis - 1] = known_product(sizes[axis - 1], size);
      sizes.erase(sizes.begin() + static_cast<int64_t>(axis));
    };
    join(boxes.whole);
    for (CopyPiece& piece : boxes.pieces) {
      join(piece.begin);
      join(piece.size);
    }
  }
}

// What divides all sizes and places along the last axis, of those elements that one access moves.
int lanes_of(CopyBoxes boxes, const std::vector<bool>& full) {
  auto replace = [](std::vector<int64_t>& sizes) {
    std::replace(sizes.begin(), sizes.end(), kDynamicDim, int64_t{1});
  };
  replace(boxes.whole);
  for (CopyPiece& piece : boxes.pieces) {
    replace(piece.size);
    replace(piece.begin);
  }
  join_axes(boxes, full);
  int64_t together = std::gcd(boxes.whole.back(), static_cast<int64_t>(kAccessBytes / boxes.bytes));
  for (const CopyPiece& piece : boxes.pieces) {
    together = std::gcd(std::gcd(together, piece.size.back()), piece.begin.back());
  }
  return static_cast<int>(together);
}

Status check_places(const CopyBoxes& boxes) {
  for (const CopyPiece& piece : boxes.pieces) {
    for (size_t axis = 0; axis < boxes.whole.size(); ++axis) {
      int64_t whole = boxes.whole[axis];
      bool known = whole != kDynamicDim && piece.size[axis] != kDynamicDim;
      if (known && piece.begin[axis] > whole - piece.size[axis]) {
        return unsupported("a piece that leaves the whole");
      }
    }
  }
  return {};
}

}  // namespace

int64_t CopyBoxes::count(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, known_product);
}

Result<CopyBoxes> copy_boxes(const Problem& problem, const Problem& written) {
  REDLINE_ASSIGN(OpBoxes boxes, checked_boxes(problem));
  REDLINE_ASSIGN(OpBoxes first, checked_boxes(written));
  std::vector<bool> full = full_axes(first);
  if (full.size() != boxes.cut.size()) return incompatible("a copy of other axes than was written");
  boxes.boxes.lanes = lanes_of(std::move(first.boxes), full);
  join_axes(boxes.boxes, full);
  REDLINE_TRY(check_places(boxes.boxes));
  return std::move(boxes.boxes);
}

Result<CopyBoxes> copy_boxes(const Problem& problem) { return copy_boxes(problem, problem); }

}  // namespace redline
