// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/element.h"

namespace redline {
namespace {

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  std::vector<cuda::KernelSource> sources;
  for (size_t output = 0; output < problem.outputs.size(); ++output) {
    REDLINE_ASSIGN(ElementKernel kernel, write_element_kernel(problem, output));
    for (cuda::KernelSource& source : indexed_sources(kernel, problem, device)) {
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

class ElementLaunch final : public Kernel {
 public:
  struct Output {
    cuda::Function function;
    cuda::LaunchShape shape;
  };
  ElementLaunch(std::string name, std::vector<Output> outputs, std::vector<int64_t> sizes)
      : name_(std::move(name)), outputs_(std::move(outputs)), sizes_(std::move(sizes)) {}

  static constexpr size_t kMaxParameters = 256;

  Status run(const KernelArgs& args) const override {
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (outputs_[i].shape.grid.x == 0) continue;
      const void* pointers[kMaxParameters];
      void* parameters[kMaxParameters];
      size_t count = 0;
      for (const TensorView& input : args.inputs) pointers[count++] = input.data;
      pointers[count++] = args.outputs[i].data;
      for (size_t p = 0; p < count; ++p) parameters[p] = &pointers[p];
      for (const int64_t& size : sizes_) parameters[count++] = const_cast<int64_t*>(&size);
      uint32_t* refused = args.refused;
      parameters[count++] = &refused;
      REDLINE_TRY(cuda::launch(*args.stream, outputs_[i].function, outputs_[i].shape,
                               {parameters, count}, name_));
    }
    return {};
  }

 private:
  std::string name_;
  std::vector<Output> outputs_;
  std::vector<int64_t> sizes_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  bool unknown = !sizes.empty();
  size_t per_output = unknown ? 2 : 1;
  if (args.modules.size() != per_output * problem.outputs.size()) {
    return incompatible("a step of ", problem.outputs.size(), " outputs with ", args.modules.size(),
                        " kernels");
  }
  if (problem.inputs.size() + 2 + sizes.size() > ElementLaunch::kMaxParameters) {
    return unsupported("more than ", ElementLaunch::kMaxParameters, " operands and sizes");
  }
  std::vector<ElementLaunch::Output> outputs;
  for (size_t i = 0; i < problem.outputs.size(); ++i) {
    size_t which = per_output * i + (unknown && !fits_short_indices(problem) ? 1 : 0);
    ElementLaunch::Output output;
    REDLINE_ASSIGN(output.function,
                   cuda::Function::create(args.modules[which], element_entry(problem, i)));
    int64_t blocks = (problem.outputs[i].dims.count() + kElementThreads - 1) / kElementThreads;
    if (blocks > INT32_MAX) return unsupported("more than ", INT32_MAX, " blocks of a kernel");
    output.shape.grid.x = static_cast<unsigned int>(blocks);
    output.shape.block.x = kElementThreads;
    output.shape.programmatic = args.context->info().has_programmatic_launch();
    outputs.push_back(std::move(output));
  }
  return std::unique_ptr<Kernel>(std::make_unique<ElementLaunch>(
      str_cat("cuda.element of ", problem.op->name), std::move(outputs), std::move(sizes)));
}

}  // namespace

void register_tactic_element_kernel(TacticRegistry& registry) {
  std::vector<std::string> ops = {"fused"};
  for (const std::string& op : element_rules().ops()) ops.push_back(op);
  registry.add({.name = "cuda.element",
                .device = "cuda",
                .ops = std::move(ops),
                .supports = element_supports,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 0});
}

}  // namespace redline
