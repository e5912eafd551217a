// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/movement/movement.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "ops/concat.h"
#include "ops/elements.h"
#include "ops/pad.h"
#include "ops/split.h"
#include "ops/transpose.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

using kernels::CopyPlan;

// Pads read the value that fills from here.
constexpr int kFill = -1;

// A box of elements that moves.
struct Piece {
  CopyPlan plan;
  int input = 0;
  int output = 0;
  int64_t src_offset = 0;  // bytes
  int64_t dst_offset = 0;
};

Result<Piece> make_piece(const Dims& dims, const Dims& src_strides, const Dims& dst_strides,
                         size_t elem_bytes) {
  Piece piece;
  const char* error =
      kernels::copy_plan(dims.rank(), dims.begin(), src_strides.begin(), dst_strides.begin(),
                         static_cast<int>(elem_bytes), &piece.plan);
  if (error != nullptr) return unsupported(error);
  return piece;
}

class CopyKernel final : public Kernel {
 public:
  CopyKernel(std::vector<Piece> pieces, std::array<char, 8> fill)
      : pieces_(std::move(pieces)),
        fill_(fill),
        copy_(kernels::movement_kernels(kernels::detect_isa()).copy) {}

  Status run(const KernelArgs& args) const override {
    for (const Piece& piece : pieces_) {
      const char* src = fill_.data();
      if (piece.input != kFill) {
        const void* data = args.inputs[static_cast<size_t>(piece.input)].data;
        src = static_cast<const char*>(data) + piece.src_offset;
      }
      void* data = args.outputs[static_cast<size_t>(piece.output)].data;
      char* dst = static_cast<char*>(data) + piece.dst_offset;
      if (piece.plan.elems * piece.plan.elem_bytes <= kSmallBytes) {
        copy_(piece.plan, src, dst, 0, piece.plan.units);
        continue;
      }
      args.pool->parallel_for(piece.plan.units, 4, [&](int64_t begin, int64_t end) {
        copy_(piece.plan, src, dst, begin, end);
      });
    }
    return {};
  }

 private:
  static constexpr int64_t kSmallBytes = 32768;
  std::vector<Piece> pieces_;
  std::array<char, 8> fill_;
  decltype(kernels::MovementKernels::copy) copy_;
};

Result<int> axis_of(int64_t axis, const Dims& dims) {
  if (axis < 0) axis += dims.rank();
  if (axis < 0 || axis >= dims.rank()) return invalid_argument("axis out of range");
  return static_cast<int>(axis);
}

// The parts along an axis, in the order they stand in the whole.
template <class PartOf>
Status add_parts(const Dims& whole, int axis, size_t count, size_t bytes, bool join, PartOf part_of,
                 std::vector<Piece>& pieces) {
  Dims whole_strides = whole.strides();
  auto at = static_cast<size_t>(axis);
  int64_t position = 0;
  for (size_t i = 0; i < count; ++i) {
    const Dims& part = part_of(i);
    if (part.rank() != whole.rank() || position + part[at] > whole[at]) {
      return invalid_argument("parts larger than the whole");
    }
    int64_t offset = position * whole_strides[at] * static_cast<int64_t>(bytes);
    Dims strides = part.strides();
    position += part[at];
    if (part.count() == 0) continue;
    REDLINE_ASSIGN(Piece piece, make_piece(part, join ? strides : whole_strides,
                                           join ? whole_strides : strides, bytes));
    piece.input = join ? static_cast<int>(i) : 0;
    piece.output = join ? 0 : static_cast<int>(i);
    (join ? piece.dst_offset : piece.src_offset) = offset;
    pieces.push_back(piece);
  }
  return {};
}

Status add_transpose(const Problem& problem, size_t bytes, std::vector<Piece>& pieces) {
  const Dims& in = problem.inputs[0].dims;
  std::vector<int64_t> perm = problem.attrs.as<TransposeAttrs>().perm;
  if (perm.empty()) {
    for (int i = in.rank(); i-- > 0;) perm.push_back(i);
  }
  if (static_cast<int>(perm.size()) != in.rank()) return invalid_argument("perm of another rank");
  Dims strides = in.strides();
  Dims moved;
  for (int64_t axis : perm) {
    if (axis < 0 || axis >= in.rank()) return invalid_argument("perm out of range");
    moved.push_back(strides[static_cast<size_t>(axis)]);
  }
  const Dims& out = problem.outputs[0].dims;
  REDLINE_ASSIGN(Piece piece, make_piece(out, moved, out.strides(), bytes));
  pieces.push_back(piece);
  return {};
}

Status add_expand(const Problem& problem, size_t bytes, std::vector<Piece>& pieces) {
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  Dims strides = in.strides();
  Dims repeated;
  for (int i = 0; i < out.rank(); ++i) {
    int from = i - (out.rank() - in.rank());
    bool moves = from >= 0 && in[static_cast<size_t>(from)] != 1;
    if (moves && in[static_cast<size_t>(from)] != out[static_cast<size_t>(i)]) {
      return invalid_argument("cannot expand ", in.to_string(), " to ", out.to_string());
    }
    repeated.push_back(moves ? strides[static_cast<size_t>(from)] : 0);
  }
  REDLINE_ASSIGN(Piece piece, make_piece(out, repeated, out.strides(), bytes));
  pieces.push_back(piece);
  return {};
}

// Each axis is two: how often, along which the source stands still, and the axis itself.
Status add_tile(const Problem& problem, size_t bytes, std::vector<Piece>& pieces) {
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  Dims strides = in.strides();
  Dims dims;
  Dims repeated;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in.rank() != out.rank() || in[i] == 0 || out[i] % in[i] != 0) {
      return invalid_argument("cannot tile ", in.to_string(), " to ", out.to_string());
    }
    for (int64_t size : {out[i] / in[i], in[i]}) dims.push_back(size);
    for (int64_t stride : {int64_t{0}, strides[i]}) repeated.push_back(stride);
  }
  REDLINE_ASSIGN(Piece piece, make_piece(dims, repeated, dims.strides(), bytes));
  pieces.push_back(piece);
  return {};
}

Status add_slice(const Problem& problem, size_t bytes, std::vector<Piece>& pieces) {
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  std::vector<int64_t> starts = read_ints(problem.inputs[1].constant->view());
  std::vector<int64_t> axes;
  std::vector<int64_t> steps(starts.size(), 1);
  auto given = [&](size_t i) { return problem.inputs.size() > i && problem.inputs[i].present; };
  if (given(3)) axes = read_ints(problem.inputs[3].constant->view());
  for (size_t i = axes.size(); i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  if (given(4)) steps = read_ints(problem.inputs[4].constant->view());
  if (steps.size() != starts.size()) return invalid_argument("as many steps as starts are needed");
  Dims strides = in.strides();
  int64_t offset = 0;
  for (size_t i = 0; i < starts.size(); ++i) {
    REDLINE_ASSIGN(int axis, axis_of(axes[i], in));
    auto at = static_cast<size_t>(axis);
    int64_t start = starts[i] < 0 ? starts[i] + in[at] : starts[i];
    start = std::clamp<int64_t>(start, 0, steps[i] > 0 ? in[at] : in[at] - 1);
    offset += start * strides[at];
    // One element needs no step, which may be too large to multiply.
    strides[at] = out[at] > 1 ? strides[at] * steps[i] : 0;
  }
  REDLINE_ASSIGN(Piece piece, make_piece(out, strides, out.strides(), bytes));
  piece.src_offset = offset * static_cast<int64_t>(bytes);
  pieces.push_back(piece);
  return {};
}

Status add_pad(const Problem& problem, size_t bytes, std::vector<Piece>& pieces) {
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  std::vector<int64_t> pads = read_ints(problem.inputs[1].constant->view());
  auto rank = static_cast<size_t>(out.rank());
  if (pads.size() != 2 * rank) return invalid_argument("pads of another rank");
  Dims none;
  none.resize(out.rank());
  REDLINE_ASSIGN(Piece fill, make_piece(out, none, out.strides(), bytes));
  fill.input = kFill;
  pieces.push_back(fill);
  if (in.count() == 0) return {};
  Dims strides = out.strides();
  int64_t offset = 0;
  for (size_t i = 0; i < rank; ++i) {
    if (pads[i] < 0 || in[i] + pads[i] > out[i]) return invalid_argument("pads do not fit");
    offset += pads[i] * strides[i];
  }
  REDLINE_ASSIGN(Piece piece, make_piece(in, in.strides(), strides, bytes));
  piece.dst_offset = offset * static_cast<int64_t>(bytes);
  pieces.push_back(piece);
  return {};
}

Status supports(const Problem& problem) {
  const OperandDesc& x = problem.inputs[0];
  auto constant = [&](size_t i) {
    return problem.inputs.size() <= i || !problem.inputs[i].present || problem.inputs[i].constant;
  };
  for (const OperandDesc& output : problem.outputs) {
    if (!output.is_tensor || !output.has_rank || output.dims.rank() > kernels::kMaxCopyRank) {
      return unsupported("takes tensors of up to ", kernels::kMaxCopyRank, " axes");
    }
  }
  if (!x.is_tensor || !x.has_rank || x.dims.rank() > kernels::kMaxCopyRank) {
    return unsupported("takes tensors of up to ", kernels::kMaxCopyRank, " axes");
  }
  if (x.dtype == DType::kString || dtype_bits(x.dtype) < 8 || dtype_bytes(x.dtype) > 8) {
    return unsupported("elements of 1 to 8 bytes");
  }
  // A tile's axes count twice.
  if (problem.is("tile") && 2 * x.dims.rank() > kernels::kMaxCopyRank) {
    return unsupported("tiles tensors of up to ", kernels::kMaxCopyRank / 2, " axes");
  }
  if (problem.is("slice")) {
    if (!constant(1) || !constant(3) || !constant(4)) return unsupported("positions not constant");
  }
  if (problem.is("pad")) {
    if (problem.attrs.as<PadAttrs>().mode != PadMode::kConstant) return unsupported("this mode");
    if (!constant(1) || !constant(2)) return unsupported("pads that are not constant");
    if (problem.inputs.size() > 3 && problem.inputs[3].present) return unsupported("some axes");
    for (int64_t pad : read_ints(problem.inputs[1].constant->view())) {
      if (pad < 0) return unsupported("negative pads");
    }
  }
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  size_t bytes = dtype_bytes(problem.inputs[0].dtype);
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  std::vector<Piece> pieces;
  std::array<char, 8> fill = {};
  bool empty = std::all_of(problem.outputs.begin(), problem.outputs.end(),
                           [](const OperandDesc& o) { return o.dims.count() == 0; });
  if (empty) return std::unique_ptr<Kernel>(std::make_unique<CopyKernel>(pieces, fill));
  if (problem.is("concat")) {
    REDLINE_ASSIGN(int axis, axis_of(problem.attrs.as<ConcatAttrs>().axis, out));
    REDLINE_TRY(add_parts(
        out, axis, problem.inputs.size(), bytes, true,
        [&](size_t i) -> const Dims& { return problem.inputs[i].dims; }, pieces));
  } else if (problem.is("split")) {
    REDLINE_ASSIGN(int axis, axis_of(problem.attrs.as<SplitAttrs>().axis, in));
    REDLINE_TRY(add_parts(
        in, axis, problem.outputs.size(), bytes, false,
        [&](size_t i) -> const Dims& { return problem.outputs[i].dims; }, pieces));
  } else if (problem.is("transpose")) {
    REDLINE_TRY(add_transpose(problem, bytes, pieces));
  } else if (problem.is("expand")) {
    REDLINE_TRY(add_expand(problem, bytes, pieces));
  } else if (problem.is("tile")) {
    REDLINE_TRY(add_tile(problem, bytes, pieces));
  } else if (problem.is("slice")) {
    REDLINE_TRY(add_slice(problem, bytes, pieces));
  } else {
    if (problem.inputs.size() > 2 && problem.inputs[2].present &&
        problem.inputs[2].constant->count() > 0) {
      std::memcpy(fill.data(), problem.inputs[2].constant->raw(), bytes);
    }
    REDLINE_TRY(add_pad(problem, bytes, pieces));
  }
  return std::unique_ptr<Kernel>(std::make_unique<CopyKernel>(std::move(pieces), fill));
}

}  // namespace

void register_tactic_movement(TacticRegistry& registry) {
  registry.add({.name = "cpu.copy",
                .device = "cpu",
                .ops = {"concat", "split", "transpose", "expand", "tile", "slice", "pad"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
