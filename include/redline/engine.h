// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redline/export.h"
#include "redline/log.h"
#include "redline/status.h"
#include "redline/tensor.h"

// The run side of the public API: engine files, and running them. It is all that a program needs
// that links libredline_runtime, which has no importer and no optimiser. Since 0.1.
//
//   auto engine = redline::Engine::load("model.engine");
//   if (!engine.ok()) return report(engine.status());
//   auto session = engine->create_session();
//   session->bind("x", redline::HostValue::of(image));
//   session->run();
//   const redline::Tensor& y = (*session->output("y"))->tensor;
namespace redline {

namespace cuda {
class GpuTrace;
}

REDLINE_API std::string_view version();
// What engines can run on here: "cpu", and each usable GPU as "cuda:0 (NVIDIA H100, sm_90a)".
REDLINE_API std::vector<std::string> devices();

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
  // "cpu"; "cuda", or "cuda:1" for the second GPU; "auto": what a loaded engine was built for, and
  // for a model the GPU if there is one that can be used, else the CPU, which is logged; "none": an
  // engine of any machine is loaded to be looked at, not to be run.
  std::string device = "auto";
  int num_threads = 0;  // 0: the physical cores that the process may use
  // Messages for people; the library itself prints nothing. May be called from any thread.
  std::function<void(Severity, std::string_view message)> log;
  Severity log_from = Severity::kInfo;  // lesser ones are not made; kVerbose: why tactics refuse
};

struct ProfileOptions {
  int runs = 20;  // of each kind, after warm-up
  // Phase and done fraction; returning false stops the profile.
  std::function<bool(std::string_view phase, double fraction)> progress;
  // Opens the GPU's own trace, from which come the times of steps in their graph: cupti_trace, of
  // redline/redline.h. Not given: they are left out.
  std::function<Result<std::shared_ptr<cuda::GpuTrace>>()> gpu_trace;
};

class Session;

// A built model: immutable, thread-safe, cheap to copy. Sessions keep it alive.
class REDLINE_API Engine {
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
  // errors and reasons of refusal; and what each stage of the build took. "{}" for an engine that
  // was loaded.
  std::string build_report() const;

  struct Impl;
  explicit Engine(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  friend class Session;
  std::shared_ptr<const Impl> impl_;
};

// One stream of runs over an engine: owns its memory. One thread at a time; several sessions of one
// engine may run at once.
class REDLINE_API Session {
 public:
  // The value must stay unchanged until the run ends. Unknown names are an error.
  Status bind(std::string_view input, HostValue value);
  // The same for a tensor in the memory of the engine's GPU, from which runs copy it there; for an
  // engine on a GPU only. Until the run ends it must stay unchanged, and its memory there. Runs
  // wait for what is queued now on `stream`, the CUstream on which it is made; null: nothing to
  // wait for. Refused with a reason are memory of the host or of another GPU, and, by the run, a
  // wrong type or wrong sizes.
  Status bind_device(std::string_view input, const DeviceTensor& tensor, void* stream = nullptr);
  // Every input must be bound. Sizes may change from run to run; the first run with new sizes
  // prepares kernels, later ones do not allocate (unless output sizes depend on values).
  Status run();
  // The two halves of `run`, for callers that have something to do meanwhile: what the GPU has to
  // do is queued, and waited for. Between them the bound inputs must stay unchanged. On the CPU,
  // and for steps of a GPU engine that run on the host, `enqueue` takes as long as the run.
  Status enqueue();
  Status wait();
  // Valid until the next run.
  Result<const HostValue*> output(std::string_view name) const;
  Result<const HostValue*> output(size_t i) const;

  // From the next run on the output, a tensor, is left on the engine's GPU (or not again): it is
  // had by `device_output`, not by `output`.
  Status keep_on_device(std::string_view output, bool keep = true);
  // When the run has been waited for. Each run writes to other memory than what was returned
  // before, which lasts as long as its `owner`; the GPU waits for all its work when that goes.
  Result<DeviceTensor> device_output(std::string_view name);
  // The CUstream that runs are queued on: for making it wait for others. Null on the CPU.
  void* stream() const;
  int gpu() const;  // its number; -1 on the CPU

  struct StepTime {
    std::string name;  // of the model's nodes
    std::string op;
    std::string tactic;  // "reference" when none was better
    double microseconds = 0;
  };
  // One run with the time of each step.
  Result<std::vector<StepTime>> run_timed();
  // Microseconds that the GPU's kernels take for the sizes of the last run, without copies: the
  // mean of `repeats` launches in a row. 0 on the CPU. With few and short kernels much of it is the
  // launches' own time, unless each launch runs them several times.
  Result<double> time_kernels(int repeats = 20, int times_in_graph = 1);
  // Where the time of runs with the bound inputs goes, as JSON: for each step its time alone,
  // bytes, floating-point operations and what part of the machine's rates that is; the parts of a
  // whole run; and in the chain of a GPU's kernels, where they have time stamps
  // (BuildSettings::timestamps), each step's time and the gap before it; the same in the graphs of
  // a GPU where ProfileOptions::gpu_trace can be opened, and else why not. Since 0.1.
  Result<std::string> profile(const ProfileOptions& options = {});
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

}  // namespace redline
