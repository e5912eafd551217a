// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "base/cancel.h"
#include "base/thread_pool.h"
#include "device/cubin_cache.h"

namespace redline::cuda {

// Compiles the kernels of a build: each text once, several at a time. Thread-safe.
class KernelCompiler {
 public:
  using Compile = std::function<Result<CompiledKernel>(const KernelSource&)>;

  // With NVRTC, through the cache on disk.
  static Result<std::shared_ptr<KernelCompiler>> create(CubinCache cache);
  // With another compiler; for tests.
  explicit KernelCompiler(Compile compile) : compile_(std::move(compile)) {}

  Result<std::shared_ptr<const CompiledKernel>> get(const KernelSource& source);
  // Makes what `get` will be asked for, on all threads of the pool. Failures wait for `get`; only
  // the caller's wish to stop is one here.
  Status prefetch(std::span<const KernelSource> sources, ThreadPool& pool,
                  const Progress& progress);

 private:
  using Kernel = Result<std::shared_ptr<const CompiledKernel>>;
  Compile compile_;
  std::mutex mutex_;
  std::map<std::string, Kernel> made_;  // by the cache's key
};

}  // namespace redline::cuda
