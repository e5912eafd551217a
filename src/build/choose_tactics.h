// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "build/build.h"
#include "ir/fuse.h"

namespace redline {

// Gives each step of the plan (and of its subplans) the tactic that the tuner chooses and packs
// constants for it. Steps that no tactic supports keep the reference.
Status choose_tactics(Plan& plan, Tuner& tuner, const PrepareArgs& args,
                      const BuildOptions& options);

// True when a tactic takes a region of the graph as it is.
bool has_kernel(const RegionDraft& region, const OpDef& fused, const TacticRegistry& tactics,
                const BuildOptions& options);

}  // namespace redline
