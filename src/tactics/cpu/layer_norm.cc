// SPDX-License-Identifier: Apache-2.0
#include "ops/layer_norm.h"

#include <algorithm>

#include "kernels/cpu/norm/norm.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

// The first normalised axis.
int first_axis(const Problem& problem) {
  int64_t axis = problem.attrs.as<LayerNormAttrs>().axis;
  return static_cast<int>(axis < 0 ? axis + problem.inputs[0].dims.rank() : axis);
}

Status supports(const Problem& problem) {
  const OperandDesc& x = problem.inputs[0];
  for (const OperandDesc& input : problem.inputs) {
    if (input.present && (input.dtype != DType::kFloat32 || !input.has_rank)) {
      return unsupported("takes f32 of known rank");
    }
  }
  if (problem.attrs.as<LayerNormAttrs>().stash_dtype != DType::kFloat32) {
    return unsupported("statistics of another type");
  }
  if (problem.outputs.size() != 1) return unsupported("gives no statistics");
  int axis = first_axis(problem);
  if (axis < 0 || axis >= x.dims.rank()) return invalid_argument("axis out of range");
  for (size_t i = 1; i < problem.inputs.size(); ++i) {
    if (!problem.inputs[i].present) continue;
    const Dims& dims = problem.inputs[i].dims;
    bool whole = dims.rank() == x.dims.rank() - axis;
    for (int d = 0; whole && d < dims.rank(); ++d) {
      int64_t size = dims[static_cast<size_t>(d)];
      whole = size != kDynamicDim && size == x.dims[static_cast<size_t>(axis + d)];
    }
    if (!whole) return unsupported("a scale or bias that is broadcast");
  }
  return {};
}

class LayerNormKernel final : public Kernel {
 public:
  LayerNormKernel(bool rms, float epsilon, int64_t rows, int64_t n)
      : rms_(rms),
        epsilon_(epsilon),
        rows_(rows),
        n_(n),
        kernels_(kernels::norm_kernels(kernels::detect_isa())) {}

  Status run(const KernelArgs& args) const override {
    kernels::LayerNormArgs norm;
    norm.x = static_cast<const float*>(args.inputs[0].data);
    norm.scale = static_cast<const float*>(args.inputs[1].data);
    if (args.inputs.size() > 2) norm.bias = static_cast<const float*>(args.inputs[2].data);
    norm.y = static_cast<float*>(args.outputs[0].data);
    norm.n = n_;
    norm.epsilon = epsilon_;
    auto run = rms_ ? kernels_.rms_norm : kernels_.layer_norm;
    int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(1, n_));
    args.pool->parallel_for(rows_, grain,
                            [&](int64_t begin, int64_t end) { run(norm, begin, end); });
    return {};
  }

 private:
  bool rms_;
  float epsilon_;
  int64_t rows_, n_;
  const kernels::NormKernels& kernels_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const Dims& dims = problem.inputs[0].dims;
  int axis = first_axis(problem);
  return std::unique_ptr<Kernel>(std::make_unique<LayerNormKernel>(
      problem.is("rms_norm"), problem.attrs.as<LayerNormAttrs>().epsilon, dims.count(0, axis),
      dims.count(axis, dims.rank())));
}

}  // namespace

void register_tactic_layer_norm(TacticRegistry& registry) {
  registry.add({.name = "cpu.layer_norm",
                .device = "cpu",
                .ops = {"layer_norm", "rms_norm"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
