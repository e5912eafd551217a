// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "build/build.h"
#include "ir/fuse.h"

namespace redline {

// One device's tuner and what its tactics are given.
struct DeviceTuner {
  Tuner& tuner;
  PrepareArgs args;
};

// A step that was asked to be on the GPU and is not.
struct HostStep {
  std::string name;
  std::string op;
  std::string reason;
};

// Gives each step of the plan (and of its subplans) the tactic that the tuner chooses, packs
// constants for it and compiles its kernels. With `gpu`, that is asked first but for arithmetic
// with sizes (shape_arithmetic.h); steps that stay on the host are added to `host_steps`. Steps
// that no tactic supports keep the reference.
Status choose_tactics(Plan& plan, DeviceTuner& host, DeviceTuner* gpu, const BuildOptions& options,
                      std::vector<HostStep>& host_steps);

// A compiled kernel as plans hold it.
std::shared_ptr<const PlanKernel> keep_kernel(
    const std::shared_ptr<const cuda::CompiledKernel>& from, std::string_view name);

// True when a tactic takes a region of the graph as it is.
bool has_kernel(const RegionDraft& region, const OpDef& fused, const TacticRegistry& tactics,
                const BuildOptions& options);

}  // namespace redline
