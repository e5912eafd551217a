// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include "build/choose_tactics.h"
#include "build/lower.h"

namespace redline {

Result<Plan> build_plan(Graph& graph, const TacticRegistry& tactics, ThreadPool& pool,
                        const BuildOptions& options) {
  REDLINE_ASSIGN(Plan plan, lower_graph(graph));
  if (options.opt_level > 0) REDLINE_TRY(choose_tactics(plan, tactics, pool, options));
  return plan;
}

}  // namespace redline
