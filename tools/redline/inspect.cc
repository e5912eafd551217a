// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "verb.h"

namespace redline::cli {
namespace {

Status run(const ModelOptions& options) {
  REDLINE_ASSIGN(Engine engine, load_to_look_at(options));
  Json info = Json::parse(engine.inspect());
  if (options.json) {
    print_json(info);
    return {};
  }
  for (const ValueInfo& input : engine.inputs())
    std::printf("input   %s: %s\n", input.name.c_str(), input.type.c_str());
  for (const ValueInfo& output : engine.outputs())
    std::printf("output  %s: %s\n", output.name.c_str(), output.type.c_str());
  std::printf("device  %s %s\nstreams %d\nweights %zu, %.1f MB\n\n",
              std::string(engine.device()).c_str(), info["device_arch"].get<std::string>().c_str(),
              info["streams"].get<int>(), info["weights"].size(),
              info["weight_bytes"].get<double>() / 1e6);
  std::vector<std::vector<std::string>> rows = {
      {"step", "op", "tactic", "us", "error", "output", "nodes"}};
  for_each_step(info, [&](const Json& step, const std::string& number) {
    std::string type = step["outputs"].empty() ? "" : step["outputs"][0]["type"].get<std::string>();
    std::string us = step.contains("us") ? format_number(step["us"].get<double>(), 1) : "";
    char error[32] = "";
    if (step.contains("error")) {
      std::snprintf(error, sizeof error, "%.1e", step["error"].get<double>());
    }
    std::string op = step["op"];
    if (step.contains("stream")) op += str_cat(" (stream ", step["stream"].get<int>(), ")");
    if (step["attributes"].get<std::string>().find("tf32=1") != std::string::npos) op += " (tf32)";
    rows.push_back({number, op, step["tactic"], us, error, type, short_name(step["name"])});
  });
  std::printf("%s", format_table(rows).c_str());
  return {};
}

}  // namespace

void register_verb_inspect(VerbTable& table) {
  table.add({"inspect", "Show what an engine holds", "redline inspect model.engine --json",
             [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               add_target_option(app, *options);
               return [options] { return run(*options); };
             }});
}

}  // namespace redline::cli
