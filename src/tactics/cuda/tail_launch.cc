// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/tail_launch.h"

#include "tactics/cuda/element.h"

namespace redline {

std::string launch_signature(const Problem& problem, const ProductTail& tail,
                             const std::string& own, std::string_view entry, int64_t threads,
                             int packed, int64_t resident) {
  std::string text = str_cat("extern \"C\" __global__ void __launch_bounds__(", threads, ", ",
                             resident, ") ", entry, "(");
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const OperandDesc& input = problem.inputs[i];
    bool chunks = static_cast<int>(i) == packed;
    std::string_view type = chunks ? "Chunk" : input.present ? storage_type(input.dtype) : "void";
    text += str_cat(pointer_to(input, type), "in", i, ", ");
  }
  return str_cat(text, storage_type(problem.outputs[0].dtype),
                 "* __restrict__ out, float* parts, int rows", tail.parameters(), own, ")");
}

Result<std::unique_ptr<Kernel>> TailLaunch::create(const Problem& problem, const ProductTail& tail,
                                                   int64_t rows, const std::vector<int>& own,
                                                   std::string name, std::vector<Step> steps,
                                                   size_t workspace_bytes, std::optional<Map> map) {
  if (problem.inputs.size() > kMaxOperands) {
    return unsupported("more than ", kMaxOperands, " operands");
  }
  auto launch = std::make_unique<TailLaunch>();
  launch->name_ = std::move(name);
  launch->steps_ = std::move(steps);
  launch->sizes_ = tail.values();
  launch->sizes_.insert(launch->sizes_.begin(), static_cast<int>(rows));
  REDLINE_ASSERT(own.size() <= kMaxOwn);
  launch->sizes_.insert(launch->sizes_.end(), own.begin(), own.end());
  launch->workspace_bytes_ = workspace_bytes;
  launch->map_ = map;
  return std::unique_ptr<Kernel>(std::move(launch));
}

Status TailLaunch::run(const KernelArgs& args) const {
  const void* pointers[kMaxOperands + 2];
  void* parameters[4 * kMaxOperands + kMaxOwn + 4];
  size_t count = 0;
  for (const TensorView& input : args.inputs) pointers[count++] = input.data;
  pointers[count++] = args.outputs[0].data;
  pointers[count++] = args.workspace;
  for (size_t i = 0; i < count; ++i) parameters[i] = &pointers[i];
  for (const int& size : sizes_) parameters[count++] = const_cast<int*>(&size);
  cuda::TensorMap map;
  if (map_) {
    const cuda::ContextPtr& context = args.stream->context();
    REDLINE_ASSIGN(map,
                   cuda::TensorMap::create(*context, args.inputs[map_->input].data, map_->shape));
    parameters[count++] = &map;
  }
  for (const Step& step : steps_) {
    REDLINE_TRY(cuda::launch(*args.stream, step.function, step.shape, {parameters, count}, name_));
  }
  return {};
}

}  // namespace redline
