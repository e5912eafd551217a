// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_pool.h"

#include <algorithm>
#include <bit>

namespace redline {

// Outlives the pool while a block is in use.
struct DevicePool::Blocks {
  std::multimap<size_t, cuda::DeviceBuffer> free;
  size_t free_bytes = 0;
  size_t used_bytes = 0;
  size_t most_used = 0;

  void give_back(cuda::DeviceBuffer buffer) {
    used_bytes -= buffer.bytes();
    free_bytes += buffer.bytes();
    free.emplace(buffer.bytes(), std::move(buffer));
  }
  void clear() {
    free.clear();
    free_bytes = 0;
  }
};

namespace {

// Four classes an octave, so that sizes that change a little meet the same blocks.
size_t round_up_to_class(size_t bytes) {
  size_t step = std::max<size_t>(256, std::bit_floor(bytes) / 4);
  return (bytes + step - 1) / step * step;
}

}  // namespace

DevicePool::DevicePool(cuda::ContextPtr context)
    : context_(std::move(context)), blocks_(std::make_shared<Blocks>()) {}

Result<std::shared_ptr<void>> DevicePool::allocate(size_t bytes) {
  bytes = round_up_to_class(std::max<size_t>(bytes, 1));
  cuda::DeviceBuffer buffer;
  auto found = blocks_->free.lower_bound(bytes);
  if (found != blocks_->free.end() && found->first / 2 <= bytes) {
    buffer = std::move(found->second);
    blocks_->free_bytes -= buffer.bytes();
    blocks_->free.erase(found);
  } else {
    // Sizes that were: they may not come again.
    if (blocks_->free_bytes > blocks_->most_used) blocks_->clear();
    Result<cuda::DeviceBuffer> made = cuda::DeviceBuffer::create(context_, bytes);
    if (!made.ok() && blocks_->free_bytes > 0) {
      blocks_->clear();
      made = cuda::DeviceBuffer::create(context_, bytes);
    }
    if (!made.ok()) return made.status();
    buffer = *std::move(made);
  }
  blocks_->used_bytes += buffer.bytes();
  blocks_->most_used = std::max(blocks_->most_used, blocks_->used_bytes);
  void* data = buffer.data();
  auto owner = std::make_shared<cuda::DeviceBuffer>(std::move(buffer));
  return std::shared_ptr<void>(
      data, [blocks = blocks_, owner](void*) { blocks->give_back(std::move(*owner)); });
}

}  // namespace redline
