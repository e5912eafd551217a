// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>

#include "device/context.h"

namespace redline {

// Memory on the GPU for values whose sizes only the run tells. A block comes back when its last
// owner lets go of it and is handed out again at once: all who use it must do so in the order of
// one stream. One thread at a time.
class DevicePool {
 public:
  explicit DevicePool(cuda::ContextPtr context);
  // At least `bytes`, 256-byte aligned, never null.
  Result<std::shared_ptr<void>> allocate(size_t bytes);

 private:
  struct Blocks;
  cuda::ContextPtr context_;
  std::shared_ptr<Blocks> blocks_;
};

}  // namespace redline
