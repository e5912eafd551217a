// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/kernel_launch.h"

namespace redline {

Result<std::unique_ptr<Kernel>> KernelLaunch::create(const Problem& problem, std::string name,
                                                     std::vector<Step> steps,
                                                     std::vector<int64_t> sizes,
                                                     std::optional<int64_t> parts,
                                                     size_t workspace_bytes, size_t kept_bytes) {
  if (problem.inputs.size() + problem.outputs.size() + sizes.size() + 3 > kMaxParameters) {
    return unsupported("more than ", kMaxParameters, " operands and sizes");
  }
  auto launch = std::make_unique<KernelLaunch>();
  launch->name_ = std::move(name);
  launch->steps_ = std::move(steps);
  launch->sizes_ = std::move(sizes);
  launch->parts_ = parts;
  launch->workspace_bytes_ = workspace_bytes;
  launch->kept_bytes_ = kept_bytes;
  return std::unique_ptr<Kernel>(std::move(launch));
}

Result<KernelLaunch::Step> KernelLaunch::step(const PrepareArgs& args, size_t module,
                                              const std::string& entry, int64_t blocks, int threads,
                                              unsigned int shared_bytes) {
  if (module >= args.modules.size()) return incompatible("a step without its kernels");
  if (blocks > INT32_MAX) return unsupported("more than ", INT32_MAX, " blocks of a kernel");
  Step step;
  REDLINE_ASSIGN(step.function, cuda::Function::create(args.modules[module], entry,
                                                       static_cast<int>(shared_bytes)));
  step.shape.shared_bytes = shared_bytes;
  step.shape.grid.x = static_cast<unsigned int>(blocks);
  step.shape.block.x = static_cast<unsigned int>(threads);
  step.shape.programmatic = args.context->info().has_programmatic_launch();
  return step;
}

Status KernelLaunch::run(const KernelArgs& args) const {
  const void* pointers[kMaxParameters];
  void* parameters[kMaxParameters];
  size_t count = 0;
  for (const TensorView& input : args.inputs) pointers[count++] = input.data;
  for (const TensorView& output : args.outputs) pointers[count++] = output.data;
  for (size_t i = 0; i < count; ++i) parameters[i] = &pointers[i];
  for (const int64_t& size : sizes_) parameters[count++] = const_cast<int64_t*>(&size);
  void* memory = kept_bytes_ > 0 ? args.kept : args.workspace;
  if (parts_) {
    parameters[count++] = &memory;
    parameters[count++] = const_cast<int64_t*>(&*parts_);
  }
  uint32_t* refused = args.refused;
  parameters[count++] = &refused;
  for (const Step& step : steps_) {
    if (step.shape.grid.x == 0) continue;
    REDLINE_TRY(cuda::launch(*args.stream, step.function, step.shape, {parameters, count}, name_));
  }
  return {};
}

}  // namespace redline
