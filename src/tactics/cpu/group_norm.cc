// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/norm/norm.h"

#include "ops/group_norm.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Status supports(const Problem& problem) {
  for (const OperandDesc& input : problem.inputs) REDLINE_TRY(expect_f32(input));
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const Dims& dims = problem.inputs[0].dims;
  kernels::GroupNormArgs norm;
  norm.channels = dims[1];
  norm.spatial = dims.count(2, dims.rank());
  if (problem.is("group_norm")) {
    norm.groups = problem.attrs.as<GroupNormAttrs>().num_groups;
    norm.epsilon = problem.attrs.as<GroupNormAttrs>().epsilon;
  } else {
    norm.groups = dims[1];
    norm.epsilon = problem.attrs.as<InstanceNormAttrs>().epsilon;
  }
  if (norm.groups > 0 && norm.channels % norm.groups != 0) {
    return invalid_argument("num_groups ", norm.groups, " does not divide ", norm.channels,
                            " channels");
  }
  int64_t units = dims.count() == 0 ? 0 : dims[0] * norm.groups;
  int64_t grain = loop_grain(units == 0 ? 1 : dims.count() / units);
  auto run = kernels::norm_kernels(kernels::detect_isa()).group_norm;
  return make_loop_kernel([=](const KernelArgs& args) -> Status {
    kernels::GroupNormArgs a = norm;
    a.x = args.inputs[0].as<const float>();
    a.scale = args.inputs[1].as<const float>();
    a.bias = args.inputs[2].as<const float>();
    a.y = args.outputs[0].as<float>();
    args.pool->parallel_for(units, grain, [&](int64_t begin, int64_t end) { run(a, begin, end); });
    return {};
  });
}

}  // namespace

void register_tactic_group_norm(TacticRegistry& registry) {
  registry.add({.name = "cpu.group_norm",
                .device = "cpu",
                .ops = {"group_norm", "instance_norm"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
