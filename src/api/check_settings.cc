// SPDX-License-Identifier: Apache-2.0
#include "api/check_settings.h"

#include <map>

namespace redline {
namespace {

std::set<std::string> symbols_of(const Graph& graph) {
  std::set<std::string> symbols;
  for (const Value* input : graph.inputs()) {
    const Type& type = input->type;
    if (!type.is_tensor() || !type.shape.has_rank()) continue;
    for (const Dim& dim : type.shape.dims()) symbols.merge(dim.symbols());
  }
  return symbols;
}

}  // namespace

Status check_symbol(const std::string& symbol, const std::set<std::string>& symbols) {
  if (symbols.contains(symbol)) return {};
  std::string names;
  for (const std::string& name : symbols) names += str_cat(names.empty() ? "'" : ", '", name, "'");
  return invalid_argument("no size of an input is called '", symbol,
                          "'; there are: ", names.empty() ? "none" : names);
}

Status check_settings(const BuildSettings& settings, const Graph& graph) {
  if (settings.opt_level < 0 || settings.opt_level > 5) {
    return invalid_argument("the optimisation level is ", settings.opt_level, ", expected 0 to 5");
  }
  if (settings.build_seconds && !(*settings.build_seconds >= 0)) {
    return invalid_argument("the build time is ", *settings.build_seconds,
                            " seconds, expected 0 or more");
  }
  if (settings.check_range && settings.precision != Precision::kFloat16) {
    return invalid_argument("only fp16 has a range to be checked, and it is not asked for");
  }
  std::set<std::string> symbols = symbols_of(graph);
  std::map<std::string, int64_t> sizes;
  for (const auto& [symbol, size] : settings.optimal_sizes) {
    REDLINE_TRY(check_symbol(symbol, symbols));
    if (size < 0) return invalid_argument("the size of '", symbol, "' is ", size);
    int64_t known = sizes.emplace(symbol, size).first->second;
    if (known != size) {
      return invalid_argument("the size of '", symbol, "' is given as ", known, " and as ", size);
    }
  }
  std::set<std::string> ranges;
  for (const BuildSettings::SizeRange& range : settings.size_ranges) {
    REDLINE_TRY(check_symbol(range.symbol, symbols));
    if (!ranges.insert(range.symbol).second) {
      return invalid_argument("the sizes of '", range.symbol, "' are given twice");
    }
  }
  return {};
}

}  // namespace redline
