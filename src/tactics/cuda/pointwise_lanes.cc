// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/pointwise.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr std::string_view kEntry = "pointwise_lanes";

// The problem's axes with those joined along which every operand has the output's size, or 1.
struct Joined {
  Dims rows;
  std::vector<Dims> inputs;
};

Joined join_axes(const Problem& problem) {
  const Dims& out = problem.outputs[0].dims;
  size_t count = problem.inputs.size();
  auto size_of = [&](size_t i, size_t axis) -> int64_t {
    const Dims& dims = problem.inputs[i].dims;
    size_t extra = out.size() - std::min(out.size(), dims.size());
    return axis < extra || !problem.inputs[i].present ? 1 : dims[axis - extra];
  };
  Joined joined;
  joined.inputs.resize(count);
  for (size_t axis = 0; axis < out.size(); ++axis) {
    if (out[axis] == 1) continue;
    bool same = !joined.rows.empty();
    for (size_t i = 0; same && i < count; ++i) {
      same = (size_of(i, axis) == 1) == (joined.inputs[i].back() == 1);
    }
    if (same) {
      joined.rows[joined.rows.size() - 1] *= out[axis];
      for (size_t i = 0; i < count; ++i) {
        joined.inputs[i][joined.rows.size() - 1] *= size_of(i, axis);
      }
    } else {
      joined.rows.push_back(out[axis]);
      for (size_t i = 0; i < count; ++i) joined.inputs[i].push_back(size_of(i, axis));
    }
  }
  if (joined.rows.empty()) {
    joined.rows.push_back(1);
    for (Dims& dims : joined.inputs) dims.push_back(1);
  }
  return joined;
}

Status supports(const Problem& problem) {
  REDLINE_TRY(element_supports(problem));
  Body body = body_of(problem);
  for (const BodyNode& node : body.nodes) {
    std::string_view op = node.op->name;
    if (op == "constant" || op == "cast" || op == "bit_cast" || find_pointwise(op)) continue;
    return unsupported("takes pointwise ops only, not ", op);
  }
  const Dims& out = problem.outputs[0].dims;
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.is_static()) return unsupported("takes known sizes");
      if (operand.present && operand.dims.rank() > out.rank()) {
        return unsupported("an operand of a higher rank than the result");
      }
    }
  }
  for (const OperandDesc& output : problem.outputs) {
    if (output.dims != out) return unsupported("results of different sizes");
  }
  if (out.count() == 0 || out.count() > INT32_MAX / 2) {
    return unsupported("takes 1 to 2^30 elements");
  }
  return {};
}

struct Knobs {
  int64_t lanes = 1, unroll = 1, threads = 1;
};

Result<Knobs> knobs_of(const Config& config) {
  Knobs knobs;
  for (auto [name, value] :
       {std::pair{"lanes", &knobs.lanes}, {"unroll", &knobs.unroll}, {"threads", &knobs.threads}}) {
    const auto* given = find_knob<int64_t>(config, name);
    if (given == nullptr || *given < 1 || *given > 1024) {
      return incompatible("a pointwise step whose knob ", name, " is missing or not in [1, 1024]");
    }
    *value = *given;
  }
  return knobs;
}

// As many as make 16 bytes of the widest operand, and divide the last axis.
int widest_lanes(const Problem& problem, const Joined& joined) {
  size_t bytes = 1;
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (operand.present) bytes = std::max(bytes, dtype_bytes(operand.dtype));
    }
  }
  int lanes = static_cast<int>(16 / bytes);
  while (joined.rows.back() % lanes != 0) lanes /= 2;
  return lanes;
}

std::vector<Config> configs(const Problem& problem) {
  int64_t lanes = widest_lanes(problem, join_axes(problem));
  std::vector<Config> result;
  // Several groups a thread keep more loads in flight, once there are threads enough.
  bool large = problem.outputs[0].dims.count() / lanes >= (1 << 18);
  std::vector<int64_t> unrolls = large ? std::vector<int64_t>{2, 4, 1} : std::vector<int64_t>{1};
  for (int64_t unroll : unrolls) {
    result.push_back({{"lanes", lanes}, {"unroll", unroll}, {"threads", int64_t{256}}});
  }
  return result;
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  Joined joined = join_axes(problem);
  ElementWriter writer(problem);
  REDLINE_ASSIGN(ElementKernel kernel,
                 writer.vector_kernel(std::string(kEntry), joined.rows, joined.inputs,
                                      static_cast<int>(knobs.lanes), static_cast<int>(knobs.unroll),
                                      static_cast<int>(knobs.threads)));
  return std::vector<cuda::KernelSource>{indexed_source(kernel, /*wide=*/false, device)};
}

constexpr size_t kMaxOperands = 128;

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_TRY(supports(problem));
  if (args.modules.size() != 1) return incompatible("a pointwise step without its kernel");
  if (problem.inputs.size() + problem.outputs.size() > kMaxOperands) {
    return unsupported("more than ", kMaxOperands, " operands");
  }
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  KernelLaunch::Step step;
  REDLINE_ASSIGN(step.function, cuda::Function::create(args.modules[0], std::string(kEntry)));
  int64_t per_block = knobs.lanes * knobs.unroll * knobs.threads;
  step.shape.grid.x =
      static_cast<unsigned int>((problem.outputs[0].dims.count() + per_block - 1) / per_block);
  step.shape.block.x = static_cast<unsigned int>(knobs.threads);
  return KernelLaunch::create(problem, std::string(kEntry), {std::move(step)}, {});
}

}  // namespace

void register_tactic_pointwise_lanes(TacticRegistry& registry) {
  std::vector<std::string> ops = {"fused", "cast", "bit_cast"};
  for (const PointwiseRow& row : pointwise_rows()) ops.emplace_back(row.name);
  registry.add({.name = "cuda.pointwise",
                .device = "cuda",
                .ops = std::move(ops),
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
