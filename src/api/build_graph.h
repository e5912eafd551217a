// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/stages.h"
#include "ir/graph.h"
#include "plan/plan.h"
#include "redline/redline.h"

namespace redline {

// An engine of a graph over the ops of `ops`, which the engine takes over. `stages` holds what came
// before.
Result<Engine> build_graph(std::unique_ptr<OpRegistry> ops, Graph& graph, EngineInfo info,
                           const BuildSettings& settings, Stages stages = {});

}  // namespace redline
