// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/reduce/reduce.h"

#include <algorithm>
#include <optional>

#include "ops/elements.h"
#include "ops/reduce.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

using kernels::ReduceOp;

struct Name {
  std::string_view op;
  ReduceOp kind;
};
constexpr Name kNames[] = {
    {"reduce_sum", ReduceOp::kSum},
    {"reduce_mean", ReduceOp::kMean},
    {"reduce_max", ReduceOp::kMax},
    {"reduce_min", ReduceOp::kMin},
    {"reduce_prod", ReduceOp::kProd},
    {"reduce_l1", ReduceOp::kL1},
    {"reduce_l2", ReduceOp::kL2},
    {"reduce_sum_square", ReduceOp::kSumSquare},
    {"reduce_log_sum", ReduceOp::kLogSum},
    {"reduce_log_sum_exp", ReduceOp::kLogSumExp},
    {"global_average_pool", ReduceOp::kMean},
    {"global_max_pool", ReduceOp::kMax},
};

ReduceOp kind_of(const Problem& problem) {
  for (const Name& name : kNames) {
    if (problem.is(name.op)) return name.kind;
  }
  return ReduceOp::kSum;
}

// Which axes go.
Result<std::vector<bool>> reduced_axes(const Problem& problem) {
  int rank = problem.inputs[0].dims.rank();
  std::vector<bool> reduced(static_cast<size_t>(rank));
  if (problem.is("global_average_pool") || problem.is("global_max_pool")) {
    for (size_t i = 2; i < reduced.size(); ++i) reduced[i] = true;
    return reduced;
  }
  bool given = problem.inputs.size() > 1 && problem.inputs[1].present;
  if (given && problem.inputs[1].constant == nullptr) return unsupported("axes not constant");
  std::vector<int64_t> axes;
  if (given) axes = read_ints(problem.inputs[1].constant->view());
  if (axes.empty()) {
    if (problem.attrs.as<ReduceAttrs>().noop_with_empty_axes) return unsupported("no axes");
    reduced.assign(reduced.size(), true);
  }
  for (int64_t axis : axes) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return invalid_argument("axis out of range");
    reduced[static_cast<size_t>(axis)] = true;
  }
  return reduced;
}

Status supports(const Problem& problem) {
  const OperandDesc& x = problem.inputs[0];
  if (!x.is_tensor || x.dtype != DType::kFloat32 || !x.has_rank) {
    return unsupported("takes f32 of known rank");
  }
  REDLINE_ASSIGN(std::vector<bool> reduced, reduced_axes(problem));
  int runs = 0;
  bool before = false;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (x.dims[i] == 1) continue;
    runs += reduced[i] && !before;
    before = reduced[i];
  }
  return runs > 1 ? unsupported("axes that are not next to each other") : Status();
}

class ReduceKernel final : public Kernel {
 public:
  ReduceKernel(ReduceOp kind, int64_t count, int64_t reduced, int64_t inner)
      : kind_(kind),
        count_(count),
        reduced_(reduced),
        inner_(inner),
        reduce_(kernels::reduce_kernels(kernels::detect_isa()).reduce) {}

  Status run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.inputs[0].data);
    auto* y = static_cast<float*>(args.outputs[0].data);
    int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, reduced_));
    if (inner_ > 1) grain = (grain + 63) / 64 * 64;
    args.pool->parallel_for(count_, grain, [&](int64_t begin, int64_t end) {
      reduce_(kind_, x, y, reduced_, inner_, begin, end);
    });
    return {};
  }

 private:
  ReduceOp kind_;
  int64_t count_, reduced_, inner_;
  decltype(kernels::ReduceKernels::reduce) reduce_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  REDLINE_ASSIGN(std::vector<bool> axes, reduced_axes(problem));
  const Dims& dims = problem.inputs[0].dims;
  int64_t reduced = 1;
  int64_t inner = 1;
  bool seen = false;
  for (size_t i = axes.size(); i-- > 0;) {
    if (axes[i]) {
      reduced *= dims[i];
      seen |= dims[i] != 1;
    } else if (!seen) {
      inner *= dims[i];
    }
  }
  // Nothing but sizes of 1 goes: each element is its own.
  if (!seen) inner = std::max<int64_t>(1, inner);
  return std::unique_ptr<Kernel>(std::make_unique<ReduceKernel>(
      kind_of(problem), problem.outputs[0].dims.count(), reduced, inner));
}

}  // namespace

void register_tactic_reduce(TacticRegistry& registry) {
  std::vector<std::string> ops;
  for (const Name& name : kNames) ops.emplace_back(name.op);
  registry.add({.name = "cpu.reduce",
                .device = "cpu",
                .ops = std::move(ops),
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
