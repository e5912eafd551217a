// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/thread_pool.h"
#include "ir/interpreter.h"
#include "tactics/tactic.h"

namespace redline {

// Runs a graph as it stands on the CPU's preferred tactics. Graphs with nested ones are
// interpreted. The registry and the pool must outlive the result.
GraphRunner cpu_graph_runner(const TacticRegistry& tactics, ThreadPool& pool);

}  // namespace redline
