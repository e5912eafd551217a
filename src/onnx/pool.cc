// SPDX-License-Identifier: Apache-2.0
#include "onnx/import_rule.h"

namespace redline {

void register_import_pool(ImportRegistry& registry) {
  registry.add("MaxPool", [](ImportContext& c) { return c.import_same("max_pool"); });
  registry.add("AveragePool", [](ImportContext& c) { return c.import_same("average_pool"); });
  registry.add("LpPool", [](ImportContext& c) { return c.import_same("lp_pool"); });
  registry.add("GlobalAveragePool",
               [](ImportContext& c) { return c.import_same("global_average_pool"); });
  registry.add("GlobalMaxPool", [](ImportContext& c) { return c.import_same("global_max_pool"); });
  registry.add("GlobalLpPool", [](ImportContext& c) { return c.import_same("global_lp_pool"); });
  registry.add("MaxUnpool", [](ImportContext& c) { return c.import_same("max_unpool"); });
}

}  // namespace redline
