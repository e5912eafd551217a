// SPDX-License-Identifier: Apache-2.0
#include "device/compiler.h"

#include <algorithm>
#include <vector>

namespace redline::cuda {

Result<std::shared_ptr<KernelCompiler>> KernelCompiler::create(CubinCache cache) {
  REDLINE_ASSIGN(const Nvrtc* nvrtc, Nvrtc::load());
  return std::make_shared<KernelCompiler>(
      [nvrtc, cache = std::move(cache)](const KernelSource& source) {
        return cache.get(*nvrtc, source);
      });
}

Result<std::shared_ptr<const CompiledKernel>> KernelCompiler::get(const KernelSource& source) {
  std::string key = CubinCache::key(source, "");
  {
    std::lock_guard lock(mutex_);
    if (auto it = made_.find(key); it != made_.end()) return it->second;
  }
  Result<CompiledKernel> compiled = compile_(source);
  Kernel kernel = compiled.status();
  if (compiled.ok()) kernel = std::make_shared<const CompiledKernel>(*std::move(compiled));
  std::lock_guard lock(mutex_);
  return made_.emplace(key, std::move(kernel)).first->second;
}

Status KernelCompiler::prefetch(std::span<const KernelSource> sources, ThreadPool& pool,
                                const Progress& progress) {
  std::map<std::string, const KernelSource*> distinct;
  for (const KernelSource& source : sources) distinct.emplace(CubinCache::key(source, ""), &source);
  std::vector<const KernelSource*> list;
  for (const auto& [key, source] : distinct) list.push_back(source);
  // Progress is told between pieces, from this thread.
  size_t piece = static_cast<size_t>(pool.num_threads()) * 4;
  for (size_t done = 0; done < list.size(); done += piece) {
    REDLINE_TRY(
        progress.report("compile", static_cast<double>(done) / static_cast<double>(list.size())));
    size_t count = std::min(piece, list.size() - done);
    pool.parallel_for(static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        static_cast<void>(get(*list[done + static_cast<size_t>(i)]));
      }
    });
  }
  return {};
}

}  // namespace redline::cuda
