// SPDX-License-Identifier: Apache-2.0
#include "device/compiler.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>

namespace redline::cuda {

Result<std::shared_ptr<KernelCompiler>> KernelCompiler::create(CubinCache cache) {
  REDLINE_ASSIGN(const Nvrtc* nvrtc, Nvrtc::load());
  return std::make_shared<KernelCompiler>(
      [nvrtc, cache = std::move(cache)](const KernelSource& source) {
        return cache.get(*nvrtc, source);
      });
}

Result<std::shared_ptr<const CompiledKernel>> KernelCompiler::get(const KernelSource& source) {
  auto start = std::chrono::steady_clock::now();
  Kernel kernel = find_or_make(source);
  std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  seconds_waited_ += waited.count();
  return kernel;
}

KernelCompiler::Kernel KernelCompiler::find_or_make(const KernelSource& source) {
  // A cubin is the same whatever its launches ask for, what is noted beside it is not.
  std::string key = str_cat(CubinCache::key(source, ""), " ", source.dynamic_shared_bytes);
  std::unique_lock lock(mutex_);
  auto [it, mine] = made_.try_emplace(std::move(key));
  std::optional<Kernel>& place = it->second;
  if (!mine) {
    one_is_made_.wait(lock, [&] { return place.has_value(); });
    return *place;
  }
  lock.unlock();
  Kernel kernel = make(source);
  lock.lock();
  place = kernel;
  lock.unlock();
  one_is_made_.notify_all();
  return kernel;
}

// Nobody may wait for a kernel for ever, and threads may not throw.
KernelCompiler::Kernel KernelCompiler::make(const KernelSource& source) const {
  try {
    REDLINE_ASSIGN(CompiledKernel compiled, compile_(source));
    compiled.entry = source.entry;
    compiled.threads = source.threads();
    compiled.dynamic_shared_bytes = source.dynamic_shared_bytes;
    return std::make_shared<const CompiledKernel>(std::move(compiled));
  } catch (const std::bad_alloc&) {
    return out_of_memory("no memory to compile kernel ", source.entry);
  }
}

KernelCompiler::Ahead::Ahead(KernelCompiler& compiler, std::vector<KernelSource> sources,
                             int threads)
    : compiler_(compiler), sources_(std::move(sources)), is_left_out_(sources_.size()) {
  size_t wanted = std::min(sources_.size(), static_cast<size_t>(std::max(threads, 0)));
  threads_.reserve(wanted);
  while (threads_.size() < wanted) {
    try {
      threads_.emplace_back([this] {
        while (make_next()) {
        }
      });
    } catch (const std::system_error&) {
      return;  // `get` makes what nobody has made
    }
  }
}

KernelCompiler::Ahead::~Ahead() {
  next_ = sources_.size();
  for (std::thread& thread : threads_) thread.join();
}

bool KernelCompiler::Ahead::make_next() {
  size_t i = next_.fetch_add(1);
  if (i >= sources_.size()) return false;
  if (is_left_out_[i]) return true;
  static_cast<void>(compiler_.find_or_make(sources_[i]));
  return true;
}

void KernelCompiler::Ahead::restrict_to(std::vector<size_t> places) {
  std::sort(places.begin(), places.end());
  for (size_t i = 0; i < is_left_out_.size(); ++i) {
    is_left_out_[i] = !std::binary_search(places.begin(), places.end(), i);
  }
}

Status KernelCompiler::Ahead::help(const Progress& progress) {
  auto total = static_cast<double>(std::max<size_t>(sources_.size(), 1));
  do {
    REDLINE_TRY(progress.report("compile", static_cast<double>(next_) / total));
  } while (make_next());
  return {};
}

}  // namespace redline::cuda
