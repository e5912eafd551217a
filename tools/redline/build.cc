// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "verb.h"

namespace redline::cli {
namespace {

std::string default_output(const std::string& model) {
  return std::filesystem::path(model).replace_extension(".engine").string();
}

std::string time_of(const Json& candidate) {
  return candidate.contains("us") ? format_number(candidate["us"].get<double>(), 1) : "";
}

// What is computed in which type.
void print_precision(const Json& precision) {
  if (precision.contains("note")) {
    std::printf("%s\n", precision["note"].get<std::string>().c_str());
  }
  if (precision["dtype"] == "f32") return;
  std::string dtype = precision["dtype"].get<std::string>();
  std::printf("%zu nodes compute in %s; range check: %s\n", precision["lowered"].get<size_t>(),
              dtype.c_str(), precision["range_check"].get<std::string>().c_str());
  for (const Json& kept : precision["kept"]) {
    std::printf("  %zu %s stay in f32: %s\n", kept["nodes"].size(),
                kept["op"].get<std::string>().c_str(), kept["reason"].get<std::string>().c_str());
  }
}

// What took how long; parts of a stage are indented, and left out where they hardly count.
void print_stages(const Json& stages) {
  constexpr double kShown = 0.005;
  for (const Json& stage : stages) {
    double seconds = stage["seconds"].get<double>();
    std::string name = stage["stage"].get<std::string>();
    auto depth = static_cast<int>(2 * std::count(name.begin(), name.end(), '/'));
    if (depth > 0 && seconds < kShown) continue;
    std::printf("%*s%-*s %7.3f s\n", depth, "", 30 - depth,
                name.substr(name.rfind('/') + 1).c_str(), seconds);
  }
}

// How each problem was decided; the chosen candidate has a star.
void print_chain(const Json& chain) {
  if (chain["tried"] == 0) return;
  std::printf("the whole network: %d other ways tried, %.1f us -> %.1f us\n",
              chain["tried"].get<int>(), chain["us_before"].get<double>(),
              chain["us"].get<double>());
  for (const Json& changed : chain["changed"]) {
    std::printf("  %s: %s instead of %s\n", changed["step"].get<std::string>().c_str(),
                changed["to"].get<std::string>().c_str(),
                changed["from"].get<std::string>().c_str());
  }
}

// What the steps would take with what was ranked first, without timing any.
void print_regret(const Json& regret) {
  auto first = regret["first_picks_us"].get<double>();
  auto chosen = regret["chosen_us"].get<double>();
  if (chosen <= 0) return;
  std::printf("ranked first: %.1f us, chosen: %.1f us (regret %.1f %%)\n", first, chosen,
              100 * (first / chosen - 1));
}

void print_streams(const Json& streams) {
  if (!streams.contains("why")) return;
  std::printf("streams %d: %s", streams["count"].get<int>(),
              streams["why"].get<std::string>().c_str());
  if (streams["tried"] > 0) {
    std::printf(", %d ways tried, %.1f us on one -> %.1f us", streams["tried"].get<int>(),
                streams["us_one"].get<double>(), streams["us"].get<double>());
  }
  std::printf("\n");
}

void print_report(const Json& report) {
  print_precision(report["precision"]);
  for (const Json& problem : report["problems"]) {
    std::printf("%s\n  steps %zu, %s\n", problem["problem"].get<std::string>().c_str(),
                problem["steps"].get<size_t>(), problem["reason"].get<std::string>().c_str());
    std::vector<std::vector<std::string>> rows;
    for (size_t i = 0; i < problem["candidates"].size(); ++i) {
      const Json& c = problem["candidates"][i];
      char error[32] = "";
      if (c.contains("error")) {
        std::snprintf(error, sizeof error, "%.1e", c["error"].get<double>());
      }
      std::string name = c["tactic"].get<std::string>() +
                         (c.contains("config") ? " " + c["config"].get<std::string>() : "");
      std::string verdict = c["verdict"].get<std::string>() +
                            (c.contains("reason") ? ": " + c["reason"].get<std::string>() : "");
      rows.push_back({problem["chosen"] == i ? "  *" : "   ", name, time_of(c), error, verdict});
    }
    std::printf("%s", format_table(rows).c_str());
  }
  print_regret(report["regret"]);
  print_chain(report["chain"]);
  print_streams(report["streams"]);
  print_stages(report["stages"]);
  std::printf("timing %.2f s, checks %.2f s\n", report["timing_seconds"].get<double>(),
              report["check_seconds"].get<double>());
}

Status run(const ModelOptions& options, const std::string& requested, bool with_report) {
  std::string output = requested.empty() ? default_output(options.path) : requested;
  auto start = std::chrono::steady_clock::now();
  REDLINE_ASSIGN(BuildSettings settings, build_settings(options));
  REDLINE_ASSIGN(Engine engine, build(options.path, settings));
  auto built = std::chrono::steady_clock::now();
  REDLINE_TRY(engine.save(output));
  settings.progress = nullptr;  // clears the bar
  auto end = std::chrono::steady_clock::now();
  double seconds = std::chrono::duration<double>(end - start).count();
  Json report = Json::parse(engine.build_report());
  report["stages"].push_back(
      {{"stage", "save"}, {"seconds", std::chrono::duration<double>(end - built).count()}});
  auto bytes = static_cast<double>(std::filesystem::file_size(output));
  if (options.json) {
    print_json({{"engine", output},
                {"seconds", seconds},
                {"bytes", bytes},
                {"report", std::move(report)}});
  } else {
    if (with_report) print_report(report);
    std::string device(engine.device());
    std::printf("%s: %.1f MB for %s, built in %.2f s\n", output.c_str(), bytes / 1e6,
                device.c_str(), seconds);
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
               add_target_option(app, *options);
               app.add_flag("--timestamps", options->timestamps,
                            "For a GPU: kernels with time stamps, for the verb profile");
               auto report = std::make_shared<bool>(false);
               app.add_flag("--report", *report, "Say how each kernel was chosen");
               return [options, output, report] { return run(*options, *output, *report); };
             }});
}

}  // namespace redline::cli
