// SPDX-License-Identifier: Apache-2.0
#include "passes/bound_sizes.h"

namespace redline {

std::set<std::string> bound_symbols(const Graph& graph) {
  std::set<std::string> result;
  if (graph.owner != nullptr) return result;
  for (const Value* input : graph.inputs()) {
    if (!input->type.is_tensor() || !input->shape().has_rank()) continue;
    for (const Dim& dim : input->shape().dims()) {
      if (dim.is_symbol()) result.insert(dim.symbol_name());
    }
  }
  return result;
}

bool is_bound(const SymDims& dims, const std::set<std::string>& symbols) {
  for (const Dim& dim : dims) {
    if (dim.is_const()) continue;
    if (dim.is_invalid()) return false;
    for (const std::string& symbol : dim.symbols()) {
      if (!symbols.contains(symbol)) return false;
    }
  }
  return true;
}

}  // namespace redline
