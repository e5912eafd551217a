// SPDX-License-Identifier: Apache-2.0
#include "ops/shape.h"

#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Status supports(const Problem& problem) {
  const OperandDesc& in = problem.inputs[0];
  if (!in.is_tensor || !in.has_rank) return unsupported("takes tensors of known rank");
  return {};
}

// The sizes are known here: what is left for the run is to write them.
Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const Dims& dims = problem.inputs[0].dims;
  Dims values;
  if (problem.is("size")) {
    values.push_back(dims.count());
  } else {
    int64_t start = problem.attrs.as<ShapeAttrs>().start;
    if (start < 0) start += dims.rank();
    start = std::clamp<int64_t>(start, 0, dims.rank());
    for (int64_t i = 0; i < problem.outputs[0].dims[0]; ++i) {
      values.push_back(dims[static_cast<size_t>(start + i)]);
    }
  }
  return make_loop_kernel([values](const KernelArgs& args) {
    std::copy(values.begin(), values.end(), args.outputs[0].as<int64_t>());
    return Status();
  });
}

}  // namespace

void register_tactic_shape(TacticRegistry& registry) {
  registry.add({.name = "cpu.shape",
                .device = "cpu",
                .ops = {"shape", "size"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
