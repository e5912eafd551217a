// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>

#include "build/build.h"
#include "ir/fuse.h"

namespace redline {

// One device's tuner and what its tactics are given.
struct DeviceTuner {
  Tuner& tuner;
  PrepareArgs args;
  // Steps that do the same share a kernel, which a session then loads once.
  std::map<const cuda::CompiledKernel*, std::shared_ptr<const PlanKernel>> kernels = {};
};

// A step that was asked to be on the GPU and is not.
struct HostStep {
  std::string name;
  std::string op;
  std::string reason;
};

// A step on the GPU that could be carried out in other ways about as fast.
struct OpenChoice {
  size_t step;
  std::vector<int> unpacked;  // its operands before packing
  Problem asked;              // see Tuner::choose
  Problem sized;
  Tuner::Way chosen;
  std::vector<Tuner::Way> alternatives;
};

// Gives each step of the plan (and of its subplans) the tactic that the tuner chooses, packs
// constants for it and compiles its kernels. With `gpu`, that is asked first but for arithmetic
// with sizes (shape_arithmetic.h); steps that stay on the host are added to `host_steps`. Steps
// that no tactic supports keep the reference. `open`, when given, receives the plan's steps (not
// those of subplans) that have alternatives, and unread constants stay.
Status choose_tactics(Plan& plan, DeviceTuner& host, DeviceTuner* gpu, const BuildOptions& options,
                      std::vector<HostStep>& host_steps, std::vector<OpenChoice>* open = nullptr);

// Packs the step's constants for a way and compiles its kernels; the step's operands are the
// unpacked ones. Fails as unsupported where the way cannot pack.
Status take_way(DeviceTuner& device, Plan& plan, PlanStep& step, const Problem& asked,
                const Problem& sized, const Tactic& tactic, Config config,
                const BuildOptions& options);

// Constants that no step reads any more are dropped, and the rest renumbered.
void drop_unread_constants(Plan& plan);

// The sizes of the plan's inputs where symbols have these values; unset where one is not told.
std::optional<std::vector<Dims>> input_sizes(const Plan& plan,
                                             const BuildOptions::SymbolValues& values);

// Of each value of the plan what it is in these sizes, as far as they are told.
std::vector<Type> types_in_sizes(const Plan& plan, const BuildOptions::SymbolValues& values);

// A compiled kernel as plans hold it.
std::shared_ptr<const PlanKernel> keep_kernel(
    const std::shared_ptr<const cuda::CompiledKernel>& from);

// True when a tactic takes a region of the graph as it is.
bool has_kernel(const RegionDraft& region, const OpDef& fused, const TacticRegistry& tactics,
                const BuildOptions& options);

}  // namespace redline
