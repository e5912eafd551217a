// SPDX-License-Identifier: Apache-2.0
#include "tactics/cpu/reduce_shape.h"

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

class ReduceKernel final : public Kernel {
 public:
  ReduceKernel(ReduceShape shape, int64_t count)
      : shape_(shape),
        count_(count),
        reduce_(kernels::reduce_kernels(kernels::detect_isa()).reduce) {}

  Status run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.inputs[0].data);
    auto* y = static_cast<float*>(args.outputs[0].data);
    args.pool->parallel_for(count_, reduce_grain(shape_), [&](int64_t begin, int64_t end) {
      reduce_(shape_.op, x, y, shape_.reduced, shape_.inner, begin, end);
    });
    return {};
  }

 private:
  ReduceShape shape_;
  int64_t count_;
  decltype(kernels::ReduceKernels::reduce) reduce_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  REDLINE_ASSIGN(ReduceShape shape, reduce_shape(problem));
  return std::unique_ptr<Kernel>(
      std::make_unique<ReduceKernel>(shape, problem.outputs[0].dims.count()));
}

}  // namespace

Status supports_reduce(const Problem& problem) {
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

Result<ReduceShape> reduce_shape(const Problem& problem) {
  REDLINE_ASSIGN(std::vector<bool> axes, reduced_axes(problem));
  const Dims& dims = problem.inputs[0].dims;
  ReduceShape shape{.op = kind_of(problem)};
  bool seen = false;
  for (size_t i = axes.size(); i-- > 0;) {
    if (axes[i]) {
      shape.reduced *= dims[i];
      seen |= dims[i] != 1;
    } else if (!seen) {
      shape.inner *= dims[i];
    }
  }
  // Nothing but sizes of 1 goes: each element is its own.
  if (!seen) shape.inner = std::max<int64_t>(1, shape.inner);
  return shape;
}

int64_t reduce_grain(const ReduceShape& shape) {
  int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, shape.reduced));
  return shape.inner > 1 ? (grain + 63) / 64 * 64 : grain;
}

void register_tactic_reduce(TacticRegistry& registry) {
  std::vector<std::string> ops;
  for (const Name& name : kNames) ops.emplace_back(name.op);
  registry.add({.name = "cpu.reduce",
                .device = "cpu",
                .ops = std::move(ops),
                .supports = supports_reduce,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
