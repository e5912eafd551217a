// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "verb.h"

namespace redline::cli {
namespace {

std::string default_output(const std::string& model) {
  return std::filesystem::path(model).replace_extension(".engine").string();
}

Status run(const ModelOptions& options, const std::string& requested) {
  std::string output = requested.empty() ? default_output(options.path) : requested;
  auto start = std::chrono::steady_clock::now();
  REDLINE_ASSIGN(BuildSettings settings, build_settings(options));
  REDLINE_ASSIGN(Engine engine, build(options.path, settings));
  REDLINE_TRY(engine.save(output));
  settings.progress = nullptr;  // clears the bar
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  auto bytes = static_cast<double>(std::filesystem::file_size(output));
  if (options.json) {
    print_json({{"engine", output}, {"seconds", seconds}, {"bytes", bytes}});
  } else {
    std::printf("%s: %.1f MB, built in %.2f s\n", output.c_str(), bytes / 1e6, seconds);
  }
  return {};
}

}  // namespace

void register_verb_build(VerbTable& table) {
  table.add({"build", "Build an engine from an ONNX model",
             "redline build model.onnx -o model.engine", [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               auto output = std::make_shared<std::string>();
               app.add_option("-o,--output", *output, "Engine file; the model's name with .engine");
               return [options, output] { return run(*options, *output); };
             }});
}

}  // namespace redline::cli
