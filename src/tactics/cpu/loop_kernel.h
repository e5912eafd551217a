// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <utility>

#include "tactics/tactic.h"

namespace redline {

// A kernel that is one function Status(const KernelArgs&), with what it captured.
template <class F>
class LoopKernel final : public Kernel {
 public:
  explicit LoopKernel(F fn) : fn_(std::move(fn)) {}
  Status run(const KernelArgs& args) const override { return fn_(args); }

 private:
  F fn_;
};

template <class F>
std::unique_ptr<Kernel> make_loop_kernel(F fn) {
  return std::make_unique<LoopKernel<F>>(std::move(fn));
}

// Units a thread takes at a time when one reads `elems` elements: about 10 us of work.
inline int64_t loop_grain(int64_t elems) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(elems, 1));
}

inline Status expect_f32(const OperandDesc& operand) {
  if (!operand.present) return {};
  if (!operand.is_tensor || !operand.has_rank) return unsupported("takes tensors of known rank");
  if (operand.dtype != DType::kFloat32) {
    return unsupported("takes f32, not ", dtype_name(operand.dtype));
  }
  return {};
}

inline int loop_axis(int64_t axis, const Dims& dims) {
  return static_cast<int>(axis < 0 ? axis + dims.rank() : axis);
}

// Whether an optional operand was given.
inline bool has_operand(const std::vector<OperandDesc>& operands, size_t i) {
  return i < operands.size() && operands[i].present;
}

}  // namespace redline
