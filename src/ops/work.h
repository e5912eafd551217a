// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <span>

#include "core/tensor.h"
#include "ops/op.h"

namespace redline {

// What a step has to do at least.
struct Work {
  double bytes = 0;  // operands once and results once; of what moves no more than the results
  // A multiplication and an addition are two.
  double matrix_flops = 0;  // of products, convolutions, attention, recurrences
  double other_flops = 0;
  DType matrix_dtype = DType::kFloat32;  // of the first operand of those
};

// Of an op on tensors of known sizes; what has none, or is no tensor, counts as nothing, and then
// flops are not counted. `constants`: as for visit_body().
Work work_of(const OpDef& op, const Attrs& attrs, std::span<const Type> inputs,
             std::span<const Type> outputs, std::span<const Tensor* const> constants);

// What a machine can do.
struct Rates {
  double bytes_per_us = 0;  // from and to its memory
  std::string bytes_from;   // how that is known, in words
  std::map<DType, double> matrix_flops_per_us;
  double other_flops_per_us = 0;
  std::string flops_from;

  // The least microseconds that work can take, and what takes them.
  struct Floor {
    double us = 0;
    bool by_memory = true;
  };
  Floor floor_of(const Work& work) const;
};

}  // namespace redline
