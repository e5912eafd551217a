// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "device/context.h"
#include "device/module.h"
#include "plan/plan.h"

namespace redline {

// What an engine has on a GPU, once for all its sessions: the constants that its steps read there,
// and its kernels. Immutable and thread-safe; points into the plan, which must outlive it.
class DeviceImage {
 public:
  static Result<std::shared_ptr<const DeviceImage>> create(const Plan& plan,
                                                           cuda::ContextPtr context);

  const cuda::ContextPtr& context() const { return context_; }
  // Its address on the GPU; null when no step reads it there.
  const void* constant(const PlanConstant& constant) const;
  // Those of a step or a variant, in its order.
  using Kernels = std::vector<std::shared_ptr<const PlanKernel>>;
  std::span<const std::shared_ptr<const cuda::Module>> modules(const Kernels& kernels) const;
  size_t constant_bytes() const { return memory_.bytes(); }

 private:
  DeviceImage() = default;
  void place_constants(const Plan& plan, size_t& bytes);
  Status load_kernels(const Plan& plan);
  Status load_kernels(const PlanStep& step, const Kernels& kernels);
  Status upload() const;

  cuda::ContextPtr context_;
  std::map<const PlanConstant*, size_t> offsets_;
  cuda::DeviceBuffer memory_;
  std::map<const PlanKernel*, std::shared_ptr<const cuda::Module>> kernels_;
  std::map<const Kernels*, std::vector<std::shared_ptr<const cuda::Module>>> modules_;
};
using DeviceImagePtr = std::shared_ptr<const DeviceImage>;

}  // namespace redline
