// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "verb.h"

namespace redline::cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Nearest rank on sorted values.
double percentile(const std::vector<double>& sorted, double p) {
  auto rank = static_cast<size_t>(std::ceil(p / 100 * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

// Sorted; empty on the CPU.
struct GpuTimes {
  std::vector<double> kernels_us;
  std::vector<double> host_us;  // from the call of a run until it only waits
};

Result<GpuTimes> time_on_gpu(Session& session) {
  GpuTimes times;
  for (int i = 0; i < 11; ++i) {
    REDLINE_ASSIGN(double us, session.time_kernels());
    if (us == 0) return times;
    times.kernels_us.push_back(us);
  }
  for (int i = 0; i < 200; ++i) {
    auto start = Clock::now();
    REDLINE_TRY(session.enqueue());
    times.host_us.push_back(seconds_since(start) * 1e6);
    REDLINE_TRY(session.wait());
  }
  std::sort(times.kernels_us.begin(), times.kernels_us.end());
  std::sort(times.host_us.begin(), times.host_us.end());
  return times;
}

Status run(const ModelOptions& options, const InputOptions& inputs, double duration,
           double warmup) {
  auto build_start = Clock::now();
  REDLINE_ASSIGN(Engine engine, load_engine_or_model(options));
  double build_seconds = seconds_since(build_start);
  REDLINE_ASSIGN(auto values, make_inputs(engine.inputs(), inputs, options));
  REDLINE_ASSIGN(Session session, engine.create_session());
  REDLINE_TRY(bind_all(session, values));
  auto first_start = Clock::now();
  REDLINE_TRY(session.run());
  double first_ms = seconds_since(first_start) * 1e3;
  for (auto start = Clock::now(); seconds_since(start) < warmup && !interrupted();) {
    REDLINE_TRY(session.run());
  }
  std::vector<double> ms;
  auto start = Clock::now();
  while ((seconds_since(start) < duration || ms.size() < 10) && !interrupted()) {
    auto one = Clock::now();
    REDLINE_TRY(session.run());
    ms.push_back(seconds_since(one) * 1e3);
  }
  double wall = seconds_since(start);
  if (ms.empty()) return cancelled("stopped before the first timed run");
  REDLINE_ASSIGN(GpuTimes gpu, time_on_gpu(session));
  std::sort(ms.begin(), ms.end());
  double mean = std::accumulate(ms.begin(), ms.end(), 0.0) / static_cast<double>(ms.size());
  Json latency = {{"min", ms.front()},
                  {"median", percentile(ms, 50)},
                  {"mean", mean},
                  {"p90", percentile(ms, 90)},
                  {"p95", percentile(ms, 95)},
                  {"p99", percentile(ms, 99)},
                  {"p99.9", percentile(ms, 99.9)},
                  {"max", ms.back()}};
  if (options.json) {
    Json result = {{"model", options.path},
                   {"device", engine.device()},
                   {"runs", ms.size()},
                   {"throughput_per_s", static_cast<double>(ms.size()) / wall},
                   {"latency_ms", latency},
                   {"first_run_ms", first_ms},
                   {"build_or_load_s", build_seconds},
                   {"activation_bytes", session.activation_bytes()},
                   {"activation_lower_bound", session.activation_lower_bound()}};
    for (const auto& [name, us] :
         {std::pair("kernels_us", &gpu.kernels_us), {"host_us", &gpu.host_us}}) {
      if (us->empty()) continue;
      result[name] = {{"min", us->front()}, {"median", percentile(*us, 50)}, {"max", us->back()}};
    }
    print_json(result);
    return {};
  }
  std::printf("%s on %s: %zu runs in %.2f s\n", options.path.c_str(),
              std::string(engine.device()).c_str(), ms.size(), wall);
  std::vector<std::vector<std::string>> rows = {
      {"throughput", format_number(static_cast<double>(ms.size()) / wall, 1), "runs/s"}};
  for (const auto& [name, value] : latency.items()) {
    rows.push_back({"latency " + name,
                    format_number(value.get<double>(), value.get<double>() < 1 ? 4 : 3), "ms"});
  }
  if (!gpu.kernels_us.empty()) {
    rows.push_back({"kernels on the GPU", format_number(percentile(gpu.kernels_us, 50), 1), "us"});
    rows.push_back({"host before it waits", format_number(percentile(gpu.host_us, 50), 1), "us"});
  }
  rows.push_back({"first run", format_number(first_ms), "ms"});
  rows.push_back({"build or load", format_number(build_seconds), "s"});
  rows.push_back(
      {"activations", format_number(static_cast<double>(session.activation_bytes()) / 1e6), "MB"});
  rows.push_back({"their lower bound",
                  format_number(static_cast<double>(session.activation_lower_bound()) / 1e6),
                  "MB"});
  std::printf("%s", format_table(rows).c_str());
  return {};
}

}  // namespace

void register_verb_bench(VerbTable& table) {
  table.add({"bench", "Time a model or an engine", "redline bench model.onnx --duration 3",
             [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               auto inputs = add_input_options(app);
               auto duration = std::make_shared<double>(3);
               auto warmup = std::make_shared<double>(0.2);
               app.add_option("--duration", *duration, "Seconds to measure")
                   ->check(number_between(0.001, 1e6))
                   ->capture_default_str();
               app.add_option("--warmup", *warmup, "Seconds before measuring")
                   ->check(number_between(0, 1e6))
                   ->capture_default_str();
               return [=] { return run(*options, *inputs, *duration, *warmup); };
             }});
}

}  // namespace redline::cli
