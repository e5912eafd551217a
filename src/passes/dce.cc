// SPDX-License-Identifier: Apache-2.0
#include "passes/pass.h"

namespace redline {
namespace {

Result<bool> run(Graph& graph, PassContext&) { return graph.erase_dead() > 0; }

}  // namespace

void register_pass_dce(PassRegistry& registry) {
  registry.add({"dce", "drops nodes and constants that nothing reads", run});
}

}  // namespace redline
