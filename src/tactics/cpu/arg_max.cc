// SPDX-License-Identifier: Apache-2.0
#include "ops/arg_max.h"

#include "kernels/cpu/reduce/reduce.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Status supports(const Problem& problem) { return expect_f32(problem.inputs[0]); }

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const auto& attrs = problem.attrs.as<ArgReduceAttrs>();
  Dims dims = problem.inputs[0].dims;
  if (dims.empty()) dims.push_back(1);
  int axis = loop_axis(attrs.axis, dims);
  int64_t size = dims[static_cast<size_t>(axis)];
  int64_t inner = dims.count(axis + 1, dims.rank());
  int64_t outputs = dims.count(0, axis) * inner;
  if (size == 0) return invalid_argument("the data is empty along axis ", axis);
  int64_t grain = loop_grain(size);
  if (inner > 1) grain = (grain + 15) / 16 * 16;
  bool last = attrs.select_last_index;
  const kernels::ReduceKernels& table = kernels::reduce_kernels(kernels::detect_isa());
  auto run = problem.is("arg_max") ? table.argmax : table.argmin;
  return make_loop_kernel([=](const KernelArgs& args) -> Status {
    const auto* x = args.inputs[0].as<const float>();
    auto* y = args.outputs[0].as<int64_t>();
    args.pool->parallel_for(outputs, grain, [&](int64_t begin, int64_t end) {
      run(x, y, size, inner, last, begin, end);
    });
    return {};
  });
}

}  // namespace

void register_tactic_arg_max(TacticRegistry& registry) {
  registry.add({.name = "cpu.arg_max",
                .device = "cpu",
                .ops = {"arg_max", "arg_min"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
