// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "ops/elements.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

// In inference: the data itself, and a mask of ones.
Status supports(const Problem& problem) {
  const OperandDesc& in = problem.inputs[0];
  if (!in.is_tensor || !in.has_rank) return unsupported("takes tensors of known rank");
  if (!has_operand(problem.inputs, 2)) return {};
  const Tensor* training = problem.inputs[2].constant;
  if (training == nullptr) return unsupported("a training_mode that is not constant");
  bool off = training->count() == 1 && read_ints(training->view())[0] == 0;
  return off ? Status() : unsupported("training");
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  int64_t count = problem.inputs[0].dims.count();
  auto width = static_cast<int64_t>(dtype_bytes(problem.inputs[0].dtype));
  bool has_mask = has_operand(problem.outputs, 1);
  return make_loop_kernel([=](const KernelArgs& args) {
    const auto* x = args.inputs[0].as<const char>();
    auto* y = args.outputs[0].as<char>();
    auto* mask = has_mask ? args.outputs[1].as<char>() : nullptr;
    args.pool->parallel_for(count, 65536, [&](int64_t begin, int64_t end) {
      std::memcpy(y + begin * width, x + begin * width, static_cast<size_t>((end - begin) * width));
      if (mask != nullptr) std::memset(mask + begin, 1, static_cast<size_t>(end - begin));
    });
    return Status();
  });
}

}  // namespace

void register_tactic_dropout(TacticRegistry& registry) {
  registry.add({.name = "cpu.dropout",
                .device = "cpu",
                .ops = {"dropout"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
