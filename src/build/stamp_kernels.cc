// SPDX-License-Identifier: Apache-2.0
#include "build/stamp_kernels.h"

#include "build/choose_tactics.h"
#include "device/timestamps.h"

namespace redline {

KernelStamper::KernelStamper(cuda::KernelCompiler& compiler)
    : made_by_(compiler),
      noting_([this](const cuda::KernelSource& source) -> Result<cuda::CompiledKernel> {
        REDLINE_ASSIGN(std::shared_ptr<const cuda::CompiledKernel> kernel, made_by_.get(source));
        cuda::CompiledKernel copy = *kernel;
        // Moves keep the bytes where they are; those of a kernel that was dropped may be there
        // again.
        std::lock_guard lock(mutex_);
        sources_.insert_or_assign(copy.cubin.data(), source);
        return copy;
      }) {}

template <class Visit>
Status KernelStamper::for_each(Plan& plan, Visit&& visit) {
  for (PlanStep& step : plan.steps) {
    for (const auto& subplan : step.subplans) REDLINE_TRY(for_each(*subplan, visit));
    REDLINE_TRY(visit(step, step.kernels));
    for (PlanVariant& variant : step.variants) REDLINE_TRY(visit(step, variant.kernels));
  }
  return {};
}

Status KernelStamper::stamp(Plan& plan, ThreadPool& pool, const Progress& progress,
                            const Logger& logger) {
  std::map<const void*, cuda::KernelSource> stamped;
  REDLINE_TRY(for_each(plan, [&](const PlanStep&, const Kernels& kernels) -> Status {
    for (const auto& kernel : kernels) {
      auto source = sources_.find(kernel->cubin.raw());
      if (source == sources_.end()) return internal_error("no text of kernel ", kernel->entry);
      REDLINE_ASSIGN(stamped[kernel->cubin.raw()], cuda::with_timestamps(source->second));
    }
    return {};
  }));
  std::vector<cuda::KernelSource> list;
  for (const auto& [cubin, source] : stamped) list.push_back(source);
  cuda::KernelCompiler::Ahead ahead(made_by_, std::move(list), pool.num_threads() - 1);
  REDLINE_TRY(ahead.help(progress));
  return for_each(plan, [&](const PlanStep& step, Kernels& kernels) -> Status {
    for (auto& kernel : kernels) {
      auto made = made_by_.get(stamped.at(kernel->cubin.raw()));
      if (!made.ok()) {
        logger.warning("step '", step.name, "' has no time stamps: ", made.status().message());
        continue;
      }
      kernel = keep_kernel(*made);
    }
    return {};
  });
}

}  // namespace redline
