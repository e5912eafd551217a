// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>

#include "ir/graph.h"

namespace redline {

// The symbols whose values are known when a run begins: none inside of subgraphs.
std::set<std::string> bound_symbols(const Graph& graph);
// Whether all sizes can be computed from those.
bool is_bound(const SymDims& dims, const std::set<std::string>& symbols);

}  // namespace redline
