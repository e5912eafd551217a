// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/kernel_launch.h"

#include <algorithm>

namespace redline {

Result<std::unique_ptr<Kernel>> KernelLaunch::create(const Problem& problem, std::string name,
                                                     std::vector<Step> steps,
                                                     std::vector<int64_t> sizes,
                                                     std::optional<Parts> parts) {
  REDLINE_ASSERT(!parts || parts->maps.size() <= kMaxMaps);
  size_t count = problem.inputs.size() + problem.outputs.size() + sizes.size();
  if (count + kMaxMaps + 3 > kMaxParameters) {
    return unsupported("more than ", kMaxParameters, " operands and sizes");
  }
  auto launch = std::make_unique<KernelLaunch>();
  launch->name_ = std::move(name);
  launch->steps_ = std::move(steps);
  launch->sizes_ = std::move(sizes);
  launch->parts_ = std::move(parts);
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
  auto is_empty = [](const Step& step) { return step.shape.grid.x == 0; };
  if (std::all_of(steps_.begin(), steps_.end(), is_empty)) return {};
  const void* pointers[kMaxParameters];
  void* parameters[kMaxParameters];
  size_t count = 0;
  for (const TensorView& input : args.inputs) pointers[count++] = input.data;
  for (const TensorView& output : args.outputs) pointers[count++] = output.data;
  for (size_t i = 0; i < count; ++i) parameters[i] = &pointers[i];
  for (const int64_t& size : sizes_) parameters[count++] = const_cast<int64_t*>(&size);
  void* memory = kept_bytes() > 0 ? args.kept : args.workspace;
  cuda::TensorMap maps[kMaxMaps];
  if (parts_) {
    parameters[count++] = &memory;
    parameters[count++] = const_cast<int64_t*>(&parts_->parts);
    cuda::TensorMap* map = maps;
    for (const Parts::Map& wanted : parts_->maps) {
      REDLINE_ASSIGN(*map, cuda::TensorMap::create(*args.stream->context(),
                                                   pointers[wanted.operand], wanted.shape));
      parameters[count++] = map++;
    }
  }
  uint32_t* refused = args.refused;
  parameters[count++] = &refused;
  for (const Step& step : steps_) {
    if (is_empty(step)) continue;
    REDLINE_TRY(cuda::launch(*args.stream, step.function, step.shape, {parameters, count}, name_));
  }
  return {};
}

}  // namespace redline
