// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "device/nvrtc.h"

namespace redline::cuda {

// Compiled kernels on disk, by the hash of their source, options and compiler version: one file
// each, which appears whole or not at all, so several processes may share a folder. Thread-safe.
// What cannot be read or is damaged is compiled again; what cannot be written is not kept, which
// costs one message. Copies are the same cache.
class CubinCache {
 public:
  // An empty folder: nothing is kept. Above `max_bytes` the files used longest ago go, when the
  // last copy of a cache goes that kept something.
  explicit CubinCache(std::string folder, Logger logger = {}, uint64_t max_bytes = 1ull << 30)
      : folder_(std::move(folder)), logger_(std::move(logger)), max_bytes_(max_bytes) {}
  ~CubinCache();
  CubinCache(const CubinCache&) = default;
  CubinCache(CubinCache&&) = default;
  CubinCache& operator=(const CubinCache&) = delete;
  CubinCache& operator=(CubinCache&&) = delete;
  // $REDLINE_CACHE, else $XDG_CACHE_HOME/redline, else ~/.cache/redline, and there "cubins"; empty
  // without any of them.
  static std::string default_folder();

  // 32 hex digits.
  static std::string key(const KernelSource& source, const std::string& compiler_version);

  // From the cache, else compiled and kept.
  Result<CompiledKernel> get(const Nvrtc& nvrtc, const KernelSource& source) const;
  std::optional<CompiledKernel> find(const std::string& key) const;
  void put(const std::string& key, const CompiledKernel& kernel) const;
  // Removes the files used longest ago until at most max_bytes are left; returns how many went.
  size_t prune() const;

 private:
  std::string path_of(const std::string& key) const;
  std::string folder_;
  Logger logger_;
  uint64_t max_bytes_;
  struct Done {
    std::atomic<bool> has_kept = false;
    std::atomic<bool> has_failed = false;
  };
  std::shared_ptr<Done> done_ = std::make_shared<Done>();
};

}  // namespace redline::cuda
