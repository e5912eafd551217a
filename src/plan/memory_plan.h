// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace redline {

// A buffer that is needed from step `first` to step `last`, both included.
struct MemoryItem {
  size_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // one an item, multiples of the alignment
  size_t peak = 0;              // bytes of the arena
  size_t lower_bound = 0;       // the largest sum of bytes alive at one step
};

// The largest sum of bytes alive at one step, each rounded up to `alignment`.
size_t live_peak(std::span<const MemoryItem> items, size_t alignment = 64);

// Offsets in one arena such that items alive at the same step do not overlap, nor those of a pair
// in `apart`. Sizes are rounded up to `alignment`, in the bound too, which knows nothing of
// `apart`. Best fit in several orders, then a search for a better order that ends at the bound or
// after a fixed amount of work; equal items get equal offsets.
MemoryPlan plan_memory(std::span<const MemoryItem> items, size_t alignment = 64,
                       std::span<const std::pair<size_t, size_t>> apart = {});

}  // namespace redline
