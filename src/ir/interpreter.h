// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace redline {

// Runs the graph with the references of its ops, node by node. The graph must verify; the values
// of the inputs are checked against their types. Slow and exact: what everything else is compared
// with.
Result<std::vector<HostValue>> interpret(const Graph& graph, std::span<const HostValue> inputs);
// The same, and tells what each node makes, those of nested graphs each time that they run.
using ValueObserver = std::function<void(const Value& value, const HostValue& made)>;
Result<std::vector<HostValue>> interpret(const Graph& graph, std::span<const HostValue> inputs,
                                         const ValueObserver& observer);

// Something that does what that `interpret` does, faster and less exact: values to f32 rounding,
// and those of nested graphs may be left out.
using GraphRunner = std::function<Status(const Graph& graph, std::span<const HostValue> inputs,
                                         const ValueObserver& observer)>;

// Sizes of symbols by name.
using SymbolValues = std::map<std::string, int64_t, std::less<>>;

// Seeded values for each input of the graph: floats in [-1, 1), integers 0 or 1, so that indices
// are mostly good. Symbols without a value get 3. Sequences have two elements, optionals one.
Result<std::vector<HostValue>> random_inputs(const Graph& graph, const SymbolValues& symbols,
                                             uint64_t seed);

}  // namespace redline
