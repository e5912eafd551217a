// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>

#include "base/cancel.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "device/compiler.h"
#include "plan/plan.h"

namespace redline {

// Puts kernels with time stamps (device/timestamps.h) in the place of those that were chosen: these
// are chosen by the times of kernels without stamps.
class KernelStamper {
 public:
  // The compiler must outlive it.
  explicit KernelStamper(cuda::KernelCompiler& compiler);
  // For the kernels of the plan: the same as the compiler, thread-safe, but notes their texts.
  cuda::KernelCompiler& compiler() { return noting_; }
  // What cannot be stamped stays as it is, with a warning.
  Status stamp(Plan& plan, ThreadPool& pool, const Progress& progress, const Logger& logger);

 private:
  using Kernels = std::vector<std::shared_ptr<const PlanKernel>>;
  template <class Visit>
  static Status for_each(Plan& plan, Visit&& visit);
  cuda::KernelCompiler& made_by_;
  std::mutex mutex_;
  std::map<const void*, cuda::KernelSource> sources_;  // by the cubin's address
  cuda::KernelCompiler noting_;
};

}  // namespace redline
