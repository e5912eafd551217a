// SPDX-License-Identifier: Apache-2.0
#include "ops/softmax.h"

#include <algorithm>

#include "kernels/cpu/norm/norm.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

Status supports(const Problem& problem) {
  const OperandDesc& x = problem.inputs[0];
  if (!x.is_tensor || x.dtype != DType::kFloat32 || !x.has_rank || x.dims.rank() == 0) {
    return unsupported("takes f32 of known rank");
  }
  return {};
}

class SoftmaxKernel final : public Kernel {
 public:
  SoftmaxKernel(bool log, int64_t outer, int64_t size, int64_t inner)
      : log_(log),
        outer_(outer),
        size_(size),
        inner_(inner),
        kernels_(kernels::norm_kernels(kernels::detect_isa())) {}

  Status run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.inputs[0].data);
    auto* y = static_cast<float*>(args.outputs[0].data);
    int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, size_));
    if (inner_ == 1) {
      auto rows = log_ ? kernels_.log_softmax_rows : kernels_.softmax_rows;
      args.pool->parallel_for(outer_, grain,
                              [&](int64_t begin, int64_t end) { rows(x, y, size_, begin, end); });
      return {};
    }
    auto columns = log_ ? kernels_.log_softmax_axis : kernels_.softmax_axis;
    grain = (grain + 63) / 64 * 64;
    args.pool->parallel_for(outer_ * inner_, grain, [&](int64_t begin, int64_t end) {
      columns(x, y, size_, inner_, begin, end);
    });
    return {};
  }

 private:
  bool log_;
  int64_t outer_, size_, inner_;
  const kernels::NormKernels& kernels_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const Dims& dims = problem.inputs[0].dims;
  int64_t axis = problem.attrs.as<SoftmaxAttrs>().axis;
  if (axis < 0) axis += dims.rank();
  if (axis < 0 || axis >= dims.rank()) return invalid_argument("axis out of range");
  auto at = static_cast<int>(axis);
  return std::unique_ptr<Kernel>(std::make_unique<SoftmaxKernel>(
      problem.is("log_softmax"), dims.count(0, at), dims[static_cast<size_t>(at)],
      dims.count(at + 1, dims.rank())));
}

}  // namespace

void register_tactic_softmax(TacticRegistry& registry) {
  registry.add({.name = "cpu.softmax",
                .device = "cpu",
                .ops = {"softmax", "log_softmax"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
