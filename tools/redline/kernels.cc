// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "verb.h"

namespace redline::cli {
namespace {

Status run(const ModelOptions& options) {
  REDLINE_ASSIGN(Engine engine, load_to_look_at(options));
  Json info = Json::parse(engine.inspect());
  Json kernels = Json::array();
  for (const Json& step : info["steps"]) {
    for (const Json& kernel : step.value("kernels", Json::array())) {
      kernels.push_back({{"step", step["name"]},
                         {"op", step["op"]},
                         {"tactic", step["tactic"]},
                         {"registers", kernel["registers"]},
                         {"shared_bytes", kernel["shared_bytes"]},
                         {"spill_bytes", kernel["spill_bytes"]},
                         {"bytes", kernel["bytes"]}});
    }
  }
  if (options.json) {
    print_json(kernels);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"tactic", "registers", "shared", "spills", "bytes", "op", "step"}};
  for (const Json& k : kernels) {
    rows.push_back({k["tactic"], std::to_string(k["registers"].get<int>()),
                    std::to_string(k["shared_bytes"].get<int>()),
                    std::to_string(k["spill_bytes"].get<int>()),
                    std::to_string(k["bytes"].get<size_t>()), k["op"], k["step"]});
  }
  std::printf("%s", format_table(rows).c_str());
  if (kernels.empty()) std::printf("no kernels of a GPU: the engine is for the CPU\n");
  return {};
}

}  // namespace

void register_verb_kernels(VerbTable& table) {
  table.add({"kernels", "List an engine's GPU kernels", "redline kernels model.engine",
             [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               return [options] { return run(*options); };
             }});
}

}  // namespace redline::cli
