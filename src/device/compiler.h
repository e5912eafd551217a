// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/cancel.h"
#include "device/cubin_cache.h"

namespace redline::cuda {

// Compiles the kernels of a build: each text once, several at a time. Thread-safe.
class KernelCompiler {
 public:
  class Ahead;
  using Compile = std::function<Result<CompiledKernel>(const KernelSource&)>;

  // With NVRTC, through the cache on disk.
  static Result<std::shared_ptr<KernelCompiler>> create(CubinCache cache);
  // With another compiler; for tests.
  explicit KernelCompiler(Compile compile) : compile_(std::move(compile)) {}

  // Waits where another thread is making it.
  Result<std::shared_ptr<const CompiledKernel>> get(const KernelSource& source);
  // How long the callers of `get` have waited, all together.
  double seconds_waited() const { return seconds_waited_; }

 private:
  using Kernel = Result<std::shared_ptr<const CompiledKernel>>;
  Kernel find_or_make(const KernelSource& source);
  Kernel make(const KernelSource& source) const;

  Compile compile_;
  std::atomic<double> seconds_waited_ = 0;
  std::mutex mutex_;
  std::condition_variable one_is_made_;
  // By the cache's key and the dynamic shared memory; what has no value is being made.
  std::map<std::string, std::optional<Kernel>> made_;
};

// Makes what `get` will be asked for, in this order, on threads of its own for as long as it lives.
// Failures wait for `get`. The compiler must outlive it. Thread-safe.
class KernelCompiler::Ahead {
 public:
  Ahead(KernelCompiler& compiler, std::vector<KernelSource> sources, int threads);
  // Waits for those that are begun.
  ~Ahead();
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  // From now on only these of the sources are made, by their places.
  void restrict_to(std::vector<size_t> places);
  // Takes part until the last is begun. The caller's wish to stop is the only failure.
  Status help(const Progress& progress);

 private:
  bool make_next();

  KernelCompiler& compiler_;
  std::vector<KernelSource> sources_;
  std::vector<std::atomic<bool>> is_left_out_;
  std::atomic<size_t> next_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace redline::cuda
