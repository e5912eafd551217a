// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redline/engine.h"

// The public API of Redline. Errors are returned, nothing is thrown or printed. Since 0.1.
//
//   auto engine = redline::build("model.onnx", {});
//   if (!engine.ok()) return report(engine.status());
//   auto session = engine->create_session();
namespace redline {

// What f32 tensors of a model are computed in, wherever that is safe. Inputs and outputs keep their
// types; what stays in f32 is in Engine::build_report(). kTf32: tensors stay f32, and products on a
// GPU round what they multiply to tf32 (11 bits); the CPU computes in f32, and says so.
enum class Precision : uint8_t { kFloat32, kTf32, kFloat16, kBFloat16 };

struct BuildSettings : EngineOptions {
  // Sizes to optimise for, by the symbol's name. What is not listed is 1 where it is the first axis
  // or called a batch, 224 for other axes of four, and else 128.
  std::vector<std::pair<std::string, int64_t>> optimal_sizes;
  // Sizes that the engine is to be good at over a range, with the best at `likely`. On a GPU its
  // steps have variants for the ends of the range and some sizes between too. It runs any other
  // size as well. A symbol's range counts before its optimal size.
  struct SizeRange {
    std::string symbol;
    int64_t least = 1;
    int64_t likely = 1;
    int64_t most = 1;
  };
  std::vector<SizeRange> size_ranges;
  // On a GPU: whether steps that none of its kernels takes may run on the host. Without it they are
  // an error; device "auto" allows it. They are logged.
  bool host_fallback = false;
  // Builds for a GPU that is not here ("sm_90a"), with device "cuda": the engine can be saved, not
  // run. Kernels are chosen by what the tuning database says, and not checked.
  std::string target;
  // On a GPU: each kernel notes when its blocks pass its parts, for Session::profile(). That costs
  // a little time in each run.
  bool timestamps = false;
  // On a GPU: whether steps that do not depend on each other run side by side, on streams beside
  // the first, still as one launch. Results are the same. Not given: where this build, or an
  // earlier one, measured that the whole is faster so, for a range of sizes on average.
  std::optional<bool> side_streams;
  std::vector<std::string> disabled_passes;
  bool verify_passes = false;  // run the reference before and after each pass
  std::string dump_ir;         // folder for the graph after each pass
  // Others than kFloat32 need an opt_level of 1 or more.
  Precision precision = Precision::kFloat32;
  // With kFloat16: looks for values that overflow on random inputs however long that takes; else
  // only where it is cheap.
  bool check_range = false;
  // 0: references only, no passes. 1: passes and preferred kernels. 2: also what the tuning
  // database says. 3: time the best few kernels of each step. 4, 5: more of them, more often. From
  // 1 on every kernel is checked against the reference.
  int opt_level = 3;
  // After these seconds the build looks no further for faster kernels; what it needs it still does.
  std::optional<double> build_seconds;
  // File that keeps what was measured; "": none. Not given: tuning.jsonl in $XDG_CACHE_HOME/redline
  // or ~/.cache/redline.
  std::optional<std::string> tuning_database;
  // Phase and done fraction; returning false cancels the build.
  std::function<bool(std::string_view phase, double fraction)> progress;
};

// Builds an engine from an ONNX file, or from a model's bytes (which need not outlive the call).
REDLINE_API Result<Engine> build(const std::string& model_path, const BuildSettings& settings = {});
REDLINE_API Result<Engine> build(std::span<const std::byte> model,
                                 const BuildSettings& settings = {});
// Builds a model, or loads an engine, by what the file is.
REDLINE_API Result<Engine> load(const std::string& path, const BuildSettings& settings = {});
REDLINE_API Result<Engine> load(std::span<const std::byte> bytes,
                                const BuildSettings& settings = {});

// What can be imported of a model.
struct CheckReport {
  struct Op {
    std::string name;  // "Conv", "com.microsoft.Gelu"
    size_t nodes = 0;
    size_t unsupported = 0;
  };
  struct Problem {
    std::string node, op, domain, reason, nearest;
    int opset = 0;
  };
  std::vector<Op> ops;
  std::vector<Problem> problems;
  size_t nodes = 0;
  std::string error;  // set when the file as a whole cannot be read
};
REDLINE_API Result<CheckReport> check(const std::string& model_path);

// For ProfileOptions::gpu_trace: a trace by NVIDIA's CUPTI, which is loaded now. Fails with what to
// install when it is not there. Since 0.1.
REDLINE_API Result<std::shared_ptr<cuda::GpuTrace>> cupti_trace();

}  // namespace redline
