// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/thread_pool.h"
#include "passes/value_range.h"

namespace redline {

// What measure_range found, as a text that a later build of the same graph reads instead of running
// it: the values whose magnitude came above `least`, by their number in the graph.
std::string range_to_text(const Graph& graph, const MeasuredRange& range, double least);
std::optional<MeasuredRange> range_from_text(const Graph& graph, std::string_view text);

// The same for graphs that are the same, weights included, and are run with the same sizes.
std::string range_key(const Graph& graph, const SymbolValues& symbols, ThreadPool* pool);

}  // namespace redline
