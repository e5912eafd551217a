// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/copy_boxes.h"

#include <algorithm>
#include <numeric>

#include "ops/concat.h"
#include "ops/elements.h"
#include "ops/pad.h"
#include "ops/split.h"

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

// The sizes from the first axis that is cut on, which must be known.
Status take_sizes(const Dims& dims, size_t from, std::vector<int64_t>& sizes) {
  for (size_t axis = from; axis < dims.size(); ++axis) {
    if (dims[axis] == kDynamicDim) return unsupported("takes known sizes behind what it cuts");
    sizes.push_back(dims[axis]);
  }
  return {};
}

// Pieces one after another along an axis.
Result<CopyBoxes> along_axis(const OperandDesc& whole, const std::vector<OperandDesc>& pieces,
                             int64_t given_axis, bool from_whole) {
  CopyBoxes boxes;
  boxes.from_whole = from_whole;
  REDLINE_ASSIGN(boxes.row_axes, checked_axis(given_axis, whole.dims.rank()));
  REDLINE_TRY(take_sizes(whole.dims, boxes.row_axes, boxes.whole));
  int64_t begin = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    REDLINE_TRY(check_operand(pieces[i], whole.dtype));
    if (pieces[i].dims.rank() != whole.dims.rank()) return unsupported("pieces of another rank");
    CopyPiece piece{i, std::vector<int64_t>(boxes.whole.size(), 0), {}};
    REDLINE_TRY(take_sizes(pieces[i].dims, boxes.row_axes, piece.size));
    piece.begin[0] = begin;
    begin += piece.size[0];
    boxes.pieces.push_back(std::move(piece));
  }
  return boxes;
}

// One piece, of sizes `inside`, that begins at `begins` of the whole; an axis may be cut only where
// it says so.
Result<CopyBoxes> one_piece(const Dims& whole, const Dims& inside,
                            const std::vector<int64_t>& begins, const std::vector<bool>& cut) {
  CopyBoxes boxes;
  boxes.row_axes = static_cast<size_t>(std::find(cut.begin(), cut.end(), true) - cut.begin());
  if (boxes.row_axes == cut.size()) return unsupported("cuts nothing");
  CopyPiece piece;
  REDLINE_TRY(take_sizes(whole, boxes.row_axes, boxes.whole));
  REDLINE_TRY(take_sizes(inside, boxes.row_axes, piece.size));
  piece.begin.assign(begins.begin() + static_cast<int64_t>(boxes.row_axes), begins.end());
  boxes.pieces.push_back(std::move(piece));
  return boxes;
}

Result<CopyBoxes> slice_boxes(const Problem& problem) {
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
    if (size == kDynamicDim) return unsupported("takes known sizes of axes that it cuts");
    int64_t start = starts[i] < 0 ? starts[i] + size : starts[i];
    begins[axis] = std::clamp<int64_t>(start, 0, size);
    cut[axis] = true;
  }
  REDLINE_ASSIGN(CopyBoxes boxes, one_piece(whole, inside, begins, cut));
  boxes.from_whole = true;
  return boxes;
}

Result<CopyBoxes> pad_boxes(const Problem& problem) {
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
  REDLINE_ASSIGN(CopyBoxes boxes, one_piece(whole, inside, begins, cut));
  boxes.fill = true;
  return boxes;
}

// Joins axes to those before them where all pieces have all of them.
void join_axes(CopyBoxes& boxes) {
  for (size_t axis = boxes.whole.size(); axis-- > 1;) {
    int64_t size = boxes.whole[axis];
    bool full = std::all_of(boxes.pieces.begin(), boxes.pieces.end(),
                            [&](const CopyPiece& piece) { return piece.size[axis] == size; });
    if (!full) continue;
    auto join = [&](std::vector<int64_t>& sizes) {
      sizes[axis - 1] *= size;
      sizes.erase(sizes.begin() + static_cast<int64_t>(axis));
    };
    join(boxes.whole);
    for (CopyPiece& piece : boxes.pieces) {
      join(piece.begin);
      join(piece.size);
    }
  }
}

Result<CopyBoxes> boxes_of_op(const Problem& problem) {
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

}  // namespace

int CopyBoxes::lanes() const {
  int64_t together = std::gcd(whole.back(), static_cast<int64_t>(kAccessBytes / bytes));
  for (const CopyPiece& piece : pieces) {
    together = std::gcd(std::gcd(together, piece.size.back()), piece.begin.back());
  }
  return static_cast<int>(together);
}

int64_t CopyBoxes::whole_count() const {
  return std::accumulate(whole.begin(), whole.end(), int64_t{1}, std::multiplies<>());
}

int64_t CopyBoxes::count(const CopyPiece& piece) {
  return std::accumulate(piece.size.begin(), piece.size.end(), int64_t{1}, std::multiplies<>());
}

Result<CopyBoxes> copy_boxes(const Problem& problem) {
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
  REDLINE_ASSIGN(CopyBoxes boxes, boxes_of_op(problem));
  boxes.bytes = static_cast<int>(dtype_bytes(first.dtype));
  if (boxes.pieces.size() > kMostPieces) return unsupported("more than ", kMostPieces, " pieces");
  // The sizes are an op's own, so their product is a tensor's.
  join_axes(boxes);
  if (boxes.whole_count() == 0) return unsupported("takes no empty rows");
  for (const CopyPiece& piece : boxes.pieces) {
    for (size_t axis = 0; axis < boxes.whole.size(); ++axis) {
      if (piece.begin[axis] > boxes.whole[axis] - piece.size[axis]) {
        return unsupported("a piece that leaves the whole");
      }
    }
  }
  return boxes;
}

}  // namespace redline
