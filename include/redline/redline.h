// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redline/log.h"
#include "redline/status.h"
#include "redline/tensor.h"

// The public API of Redline. Errors are returned, nothing is thrown or printed. Since 0.1.
//
//   auto engine = redline::build("model.onnx", {});
//   if (!engine.ok()) return report(engine.status());
//   auto session = engine->create_session();
//   session->bind("x", redline::HostValue::of(image));
//   session->run();
//   const redline::Tensor& y = (*session->output("y"))->tensor;
namespace redline {

std::string_view version();

// An input or output of an engine.
struct ValueInfo {
  std::string name;
  HostValue::Kind kind = HostValue::Kind::kTensor;
  DType dtype = DType::kFloat32;  // of tensors
  bool has_rank = true;           // of tensors
  std::vector<std::string> dims;  // "3", "batch", "floordiv(h, 2)"
  std::string type;               // all of it: "f32[batch,3,224,224]", "seq(f32[*])"
};

struct EngineOptions {
  std::string device = "auto";  // "cpu", or "auto"
  int num_threads = 0;          // 0: the physical cores that the process may use
  // Messages for people; the library itself prints nothing. May be called from any thread.
  std::function<void(Severity, std::string_view message)> log;
};

struct BuildSettings : EngineOptions {
  // Sizes to optimise for, by the symbol's name; a symbol that is not listed is taken to be 1.
  std::vector<std::pair<std::string, int64_t>> optimal_sizes;
  std::vector<std::string> disabled_passes;
  bool verify_passes = false;  // run the reference before and after each pass
  std::string dump_ir;         // folder for the graph after each pass
  // 0: references only, no passes. 1: passes and preferred kernels. 2: also what the tuning
  // database says. 3: time the best few kernels of each step. 4, 5: more of them, more often. From
  // 1 on every kernel is checked against the reference.
  int opt_level = 3;
  std::optional<double> build_seconds;  // at most this long is spent on timing kernels
  // File that keeps what was measured; "": none. Not given: tuning.jsonl in $XDG_CACHE_HOME/redline
  // or ~/.cache/redline.
  std::optional<std::string> tuning_database;
  // Phase and done fraction; returning false cancels the build.
  std::function<bool(std::string_view phase, double fraction)> progress;
};

class Session;

// A built model: immutable, thread-safe, cheap to copy. Sessions keep it alive.
class Engine {
 public:
  // Loads an engine file. Refuses with a reason one that is damaged or made for another machine.
  static Result<Engine> load(const std::string& path, const EngineOptions& options = {});
  // The same from memory, which is copied.
  static Result<Engine> load(std::span<const std::byte> bytes, const EngineOptions& options = {});
  // Writes it whole or not at all.
  Status save(const std::string& path) const;
  Result<std::vector<std::byte>> serialize() const;

  Result<Session> create_session() const;
  const std::vector<ValueInfo>& inputs() const;
  const std::vector<ValueInfo>& outputs() const;
  // The model's own key-value pairs.
  const std::vector<std::pair<std::string, std::string>>& metadata() const;
  std::string_view device() const;
  // Everything about the engine as JSON: steps, tactics, values, weights, memory.
  std::string inspect() const;
  // How the kernels were chosen, as JSON: for each distinct problem the candidates with times,
  // errors and reasons of refusal. "{}" for an engine that was loaded.
  std::string build_report() const;

  struct Impl;
  explicit Engine(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  friend class Session;
  std::shared_ptr<const Impl> impl_;
};

// One stream of runs over an engine: owns its memory. One thread at a time; several sessions of one
// engine may run at once.
class Session {
 public:
  // The value must stay unchanged until the run ends. Unknown names are an error.
  Status bind(std::string_view input, HostValue value);
  // Every input must be bound. Sizes may change from run to run; the first run with new sizes
  // prepares kernels, later ones do not allocate (unless output sizes depend on values).
  Status run();
  // Valid until the next run.
  Result<const HostValue*> output(std::string_view name) const;
  Result<const HostValue*> output(size_t i) const;

  struct StepTime {
    std::string name;  // of the model's nodes
    std::string op;
    std::string tactic;  // "reference" when none was better
    double microseconds = 0;
  };
  // One run with the time of each step.
  Result<std::vector<StepTime>> run_timed();
  // Bytes of activation memory for the last run's sizes, and the least that any plan could need.
  size_t activation_bytes() const;
  size_t activation_lower_bound() const;

  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

 private:
  std::unique_ptr<Impl> impl_;
};

// Builds an engine from an ONNX file, or from a model's bytes (which need not outlive the call).
Result<Engine> build(const std::string& model_path, const BuildSettings& settings = {});
Result<Engine> build(std::span<const std::byte> model, const BuildSettings& settings = {});
// Builds a model, or loads an engine, by what the file is.
Result<Engine> load(const std::string& path, const BuildSettings& settings = {});
Result<Engine> load(std::span<const std::byte> bytes, const BuildSettings& settings = {});

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
Result<CheckReport> check(const std::string& model_path);

}  // namespace redline
