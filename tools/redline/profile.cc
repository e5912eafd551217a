// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include "base/file_io.h"
#include "verb.h"

namespace redline::cli {
namespace {

struct ProfileArguments {
  int runs = 20;
  size_t top = 0;
  std::string trace;
};

std::string percent(double part) { return format_number(100 * part, 1) + "%"; }

std::string number_at(const Json& object, const char* key, int digits) {
  return object.contains(key) ? format_number(object[key].get<double>(), digits) : "";
}

// The columns that have something in them; in the chain where steps have time stamps.
std::vector<std::vector<std::string>> step_rows(const Json& profile, size_t top) {
  bool stamped = profile["timestamps"];
  bool traced = profile.contains("graph");
  bool on_gpu = profile["device"] == "cuda";
  double scale = on_gpu ? 1 : 1e3;
  std::vector<const Json*> steps;
  for (const Json& step : profile["steps"]) steps.push_back(&step);
  if (top > 0 && top < steps.size()) {
    std::stable_sort(steps.begin(), steps.end(), [](const Json* a, const Json* b) {
      return (*a)["us"]["median"].get<double>() > (*b)["us"]["median"].get<double>();
    });
    steps.resize(top);
    std::sort(steps.begin(), steps.end(), [](const Json* a, const Json* b) {
      return (*a)["index"].get<size_t>() < (*b)["index"].get<size_t>();
    });
  }
  std::vector<std::string> head = {"step", "us", "least", "share"};
  if (traced) head.insert(head.end(), {"in graph", "graph gap"});
  if (stamped) {
    for (const char* name : {"in chain", "gap", "early", "hand-off", "load", "multiply", "store"}) {
      head.emplace_back(name);
    }
  }
  for (const char* name : {"MB", on_gpu ? "TB/s" : "GB/s", "GFLOP", on_gpu ? "TFLOP/s" : "GFLOP/s",
                           "roofline", "op", "tactic", "nodes"}) {
    head.emplace_back(name);
  }
  std::vector<std::vector<std::string>> rows = {std::move(head)};
  for (const Json* item : steps) {
    const Json& step = *item;
    std::vector<std::string> row = {
        std::to_string(step["index"].get<size_t>()), number_at(step["us"], "median", 2),
        number_at(step["us"], "min", 2), percent(step["share"].get<double>())};
    const Json graph = step.value("graph", Json::object());
    if (traced) {
      for (const char* key : {"us", "gap_us"}) row.push_back(number_at(graph, key, 2));
    }
    const Json chain = step.value("chain", Json::object());
    if (stamped) {
      for (const char* key :
           {"us", "gap_us", "early_us", "hand_off_us", "load_us", "multiply_us", "store_us"}) {
        row.push_back(number_at(chain, key, 2));
      }
    }
    // Among the others, where its time there is known.
    const Json& rated = chain.contains("tb_s") ? chain : graph.contains("tb_s") ? graph : step;
    row.push_back(format_number(step["bytes"].get<double>() / 1e6, 3));
    row.push_back(format_number(rated["tb_s"].get<double>() * scale, on_gpu ? 3 : 1));
    double flops = step["flops"].get<double>();
    row.push_back(flops > 0 ? format_number(flops / 1e9, 3) : "");
    double rate = rated["tflop_s"].get<double>() * scale;
    row.push_back(flops > 0 ? format_number(rate, on_gpu ? 2 : 1) : "");
    row.push_back(rated.contains("roofline") ? percent(rated["roofline"].get<double>()) : "");
    row.push_back(step["op"]);
    if (step.contains("stream")) row.back() += str_cat(" (stream ", step["stream"].get<int>(), ")");
    row.push_back(step["tactic"]);
    std::string name = step["name"];
    row.push_back(name.size() > 40 ? name.substr(0, 37) + "..." : name);
    rows.push_back(std::move(row));
  }
  return rows;
}

void print_latency(const Json& profile) {
  const Json& latency = profile["latency"];
  bool on_gpu = profile["device"] == "cuda";
  double total = latency["timed_run_us"].get<double>();
  std::printf("\na run takes %.1f us (least %.1f); one that was timed by its parts %.1f us:\n",
              latency["run_us"]["median"].get<double>(), latency["run_us"]["min"].get<double>(),
              total);
  struct Line {
    const char* key;
    const char* text;
    bool gpu;
  };
  constexpr Line kLines[] = {
      {"prepare_us", "  inputs checked and bound", false},
      {"stage_us", "  inputs to page-locked memory", true},
      {"launch_us", "  work queued", true},
      {"copy_in_us", "  copy in", true},
      {"kernels_us", "  compute: the GPU's kernels", true},
      {"copy_out_us", "  copy out", true},
      {"host_steps_us", "  compute: steps on the host", false},
  };
  std::vector<std::vector<std::string>> rows;
  for (const Line& line : kLines) {
    double us = latency[line.key].get<double>();
    if (line.gpu && !on_gpu) continue;
    if (on_gpu && us == 0) continue;
    rows.push_back({line.text, format_number(us, 1), percent(us / total)});
    bool gaps = std::string_view(line.key) == "kernels_us" && latency.contains("gaps_us");
    if (gaps) {
      double part = latency["gaps_us"].get<double>();
      rows.push_back({"    of that gaps", format_number(part, 1), percent(part / total)});
    }
  }
  double rest = latency["rest_us"].get<double>();
  rows.push_back({on_gpu ? "  wait: GPU starts, host wakes" : "  gaps: between the steps",
                  format_number(rest, 1), percent(rest / total)});
  std::printf("%s", format_table(rows).c_str());
}

void print_rates(const Json& profile) {
  for (const auto& [device, rates] : profile["rates"].items()) {
    std::string products;
    for (const auto& [dtype, tflops] : rates["products_tflop_s"].items()) {
      products +=
          str_cat(products.empty() ? "" : ", ", dtype, " ", format_number(tflops.get<double>(), 2));
    }
    std::printf(
        "\nroofline of %s: %.3f TB/s (%s)\n  TFLOP/s of products: %s; of the rest %.2f\n"
        "  (%s)\n",
        device.c_str(), rates["tb_s"].get<double>(), rates["tb_s_from"].get<std::string>().c_str(),
        products.c_str(), rates["other_tflop_s"].get<double>(),
        rates["tflop_s_from"].get<std::string>().c_str());
  }
}

void print_profile(const Json& profile, const ProfileArguments& arguments) {
  std::printf("%s on %s: each step alone, median and least of %d runs\n",
              profile["model"].get<std::string>().c_str(),
              profile["device_name"].get<std::string>().c_str(), profile["runs"].get<int>());
  std::printf("%s", format_table(step_rows(profile, arguments.top)).c_str());
  size_t steps = profile["steps"].size();
  if (arguments.top > 0 && arguments.top < steps) {
    std::printf("and %zu steps more\n", steps - arguments.top);
  }
  std::printf("\nall %zu steps, each alone: %.1f us\n", steps, profile["serial_us"].get<double>());
  if (profile.contains("kernels_us")) {
    std::printf("all kernels in a row, many times: %.1f us a run\n",
                profile["kernels_us"].get<double>());
  }
  if (profile.contains("graph")) {
    const Json& graph = profile["graph"];
    std::printf("in the graph, by %s: %.1f us, of which steps %.1f us and gaps %.1f us\n",
                graph["traced_by"].get<std::string>().c_str(), graph["us"].get<double>(),
                graph["steps_us"].get<double>(), graph["gaps_us"].get<double>());
  } else if (profile.contains("graph_left_out")) {
    std::printf("no times in the graph: %s\n",
                profile["graph_left_out"].get<std::string>().c_str());
  }
  if (profile.contains("chain")) {
    const Json& chain = profile["chain"];
    std::printf("in the chain, by time stamps: %.1f us, of which steps %.1f us and gaps %.1f us\n",
                chain["us"].get<double>(), chain["steps_us"].get<double>(),
                chain["gaps_us"].get<double>());
  } else if (profile["device"] == "cuda") {
    std::printf("for gaps and parts of kernels, build with --timestamps\n");
  }
  print_latency(profile);
  print_rates(profile);
}

// In the format of chrome://tracing, which ui.perfetto.dev reads too.
Json make_trace(const Json& profile) {
  std::vector<std::string> tracks = {"host", "gpu", "in the graph", "kernels", "each step alone"};
  for (const Json& from : profile["timeline"]) {
    std::string track = from["track"];
    if (std::find(tracks.begin(), tracks.end(), track) == tracks.end()) tracks.push_back(track);
  }
  std::map<size_t, const Json*> steps;
  for (const Json& step : profile["steps"]) steps[step["index"].get<size_t>()] = &step;
  Json events = Json::array();
  events.push_back({{"ph", "M"},
                    {"pid", 1},
                    {"tid", 0},
                    {"name", "process_name"},
                    {"args", {{"name", "redline"}}}});
  for (size_t track = 0; track < tracks.size(); ++track) {
    events.push_back({{"ph", "M"},
                      {"pid", 1},
                      {"tid", track},
                      {"name", "thread_name"},
                      {"args", {{"name", tracks[track]}}}});
  }
  for (const Json& from : profile["timeline"]) {
    auto track = std::find(tracks.begin(), tracks.end(), from["track"].get<std::string>());
    Json event = {{"ph", "X"},
                  {"pid", 1},
                  {"tid", track - tracks.begin()},
                  {"name", from["name"]},
                  {"ts", from["begin_us"]},
                  {"dur", from["us"]}};
    if (from.contains("index")) {
      const Json& step = *steps.at(from["index"].get<size_t>());
      for (const char* key : {"index", "op", "tactic", "bytes", "flops", "chain", "graph"}) {
        if (step.contains(key)) event["args"][key] = step[key];
      }
    }
    events.push_back(std::move(event));
  }
  return {{"displayTimeUnit", "ns"}, {"traceEvents", std::move(events)}};
}

Status run(const ModelOptions& options, const InputOptions& inputs,
           const ProfileArguments& arguments) {
  REDLINE_ASSIGN(BuildSettings settings, build_settings(options));
  REDLINE_ASSIGN(Engine engine, load(options.path, settings));
  REDLINE_TRY(check_sizes(engine.inputs(), options));
  REDLINE_ASSIGN(auto values, make_inputs(engine.inputs(), inputs, options));
  REDLINE_ASSIGN(Session session, engine.create_session());
  REDLINE_TRY(bind_all(session, values));
  ProfileOptions profile_options;
  profile_options.runs = arguments.runs;
  profile_options.progress = settings.progress;
  profile_options.gpu_trace = cupti_trace;
  REDLINE_ASSIGN(std::string text, session.profile(profile_options));
  profile_options.progress = settings.progress = nullptr;  // clears the bar
  Json profile = Json::parse(text);
  if (!arguments.trace.empty()) {
    std::string trace = make_trace(profile).dump(-1, ' ', false, Json::error_handler_t::replace);
    REDLINE_TRY(write_file(arguments.trace, trace));
  }
  profile.erase("timeline");
  if (options.json) {
    print_json(profile);
  } else {
    print_profile(profile, arguments);
  }
  return {};
}

}  // namespace

void register_verb_profile(VerbTable& table) {
  table.add({"profile", "Show where the time of a run goes",
             "redline profile model.onnx --trace trace.json", [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               auto inputs = add_input_options(app);
               auto arguments = std::make_shared<ProfileArguments>();
               app.add_option("--runs", arguments->runs, "Runs of each kind, after warm-up")
                   ->check(CLI::Range(1, 100000))
                   ->capture_default_str();
               app.add_option("--top", arguments->top,
                              "Show the steps that take longest only, this many")
                   ->check(CLI::Range(0, 1000000));
               app.add_option("--trace", arguments->trace,
                              "File for a trace of a run, for ui.perfetto.dev");
               app.add_flag("--timestamps", options->timestamps,
                            "Of a model for a GPU: with time stamps in its kernels");
               return [=] { return run(*options, *inputs, *arguments); };
             }});
}

}  // namespace redline::cli
