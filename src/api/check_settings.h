// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>

#include "base/status.h"
#include "ir/graph.h"
#include "redline/redline.h"

namespace redline {

// An error for a symbol that is none of those in the sizes of a model's inputs.
Status check_symbol(const std::string& symbol, const std::set<std::string>& symbols);

// Settings that no build can follow: numbers out of range, sizes of a symbol that no input of the
// graph has, or two different sizes of one. Invalid argument, in the words of the settings.
Status check_settings(const BuildSettings& settings, const Graph& graph);

}  // namespace redline
