// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_plan.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace redline {
namespace {

// Each takes well under a millisecond for a real model.
constexpr int kImproveRounds = 40;

size_t round_up(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

// The largest sum of bytes alive at one step.
size_t live_peak(std::span<const MemoryItem> items, size_t alignment) {
  int steps = 0;
  for (const MemoryItem& item : items) steps = std::max(steps, item.last + 2);
  std::vector<long long> change(static_cast<size_t>(steps) + 1);
  for (const MemoryItem& item : items) {
    auto bytes = static_cast<long long>(round_up(item.bytes, alignment));
    change[static_cast<size_t>(item.first)] += bytes;
    change[static_cast<size_t>(item.last) + 1] -= bytes;
  }
  long long live = 0;
  long long peak = 0;
  for (long long delta : change) {
    live += delta;
    peak = std::max(peak, live);
  }
  return static_cast<size_t>(peak);
}

// Places the items in the given order, each in the smallest gap that fits between those placed
// before that live at the same time.
size_t place(std::span<const MemoryItem> items, std::span<const size_t> order, size_t alignment,
             std::vector<size_t>& offsets) {
  std::vector<size_t> placed;  // by offset
  size_t peak = 0;
  for (size_t i : order) {
    size_t bytes = round_up(items[i].bytes, alignment);
    size_t best = SIZE_MAX;
    size_t best_gap = SIZE_MAX;
    size_t end = 0;  // of what is in the way so far
    for (size_t j : placed) {
      if (items[j].last < items[i].first || items[i].last < items[j].first) continue;
      if (offsets[j] >= end) {
        size_t gap = offsets[j] - end;
        if (gap >= bytes && gap < best_gap) {
          best = end;
          best_gap = gap;
        }
      }
      end = std::max(end, offsets[j] + round_up(items[j].bytes, alignment));
    }
    offsets[i] = best == SIZE_MAX ? end : best;
    peak = std::max(peak, offsets[i] + bytes);
    auto at = std::upper_bound(placed.begin(), placed.end(), i,
                               [&](size_t a, size_t b) { return offsets[a] < offsets[b]; });
    placed.insert(at, i);
  }
  return peak;
}

}  // namespace

MemoryPlan plan_memory(std::span<const MemoryItem> items, size_t alignment) {
  MemoryPlan plan;
  plan.lower_bound = live_peak(items, alignment);
  plan.offsets.resize(items.size());
  std::vector<size_t> order(items.size());
  auto length = [&](size_t i) { return items[i].last - items[i].first; };
  auto by_size = [&](size_t a, size_t b) {
    return items[a].bytes != items[b].bytes ? items[a].bytes > items[b].bytes
                                            : length(a) > length(b);
  };
  auto by_area = [&](size_t a, size_t b) {
    auto area = [&](size_t i) { return items[i].bytes * static_cast<size_t>(length(i) + 1); };
    return area(a) > area(b);
  };
  auto by_time = [&](size_t a, size_t b) {
    return items[a].first != items[b].first ? items[a].first < items[b].first
                                            : items[a].bytes > items[b].bytes;
  };
  auto by_length = [&](size_t a, size_t b) {
    return length(a) != length(b) ? length(a) > length(b) : items[a].bytes > items[b].bytes;
  };
  plan.peak = SIZE_MAX;
  std::vector<size_t> best_order;
  auto attempt = [&] {
    std::vector<size_t> offsets(items.size());
    size_t peak = place(items, order, alignment, offsets);
    if (peak < plan.peak) {
      plan.peak = peak;
      plan.offsets = offsets;
      best_order = order;
    }
    return offsets;
  };
  auto attempt_sorted = [&](auto compare) {
    if (plan.peak <= plan.lower_bound) return;
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), compare);
    attempt();
  };
  // No order is best for every graph.
  attempt_sorted(by_size);
  attempt_sorted(by_area);
  attempt_sorted(by_length);
  attempt_sorted(by_time);
  // What ends highest came too late: it goes first, and again.
  order = best_order;
  for (int round = 0; round < kImproveRounds && plan.peak > plan.lower_bound; ++round) {
    std::vector<size_t> offsets = attempt();
    size_t highest = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      if (offsets[i] + items[i].bytes > offsets[highest] + items[highest].bytes) highest = i;
    }
    auto at = std::find(order.begin(), order.end(), highest);
    std::rotate(order.begin(), at, at + 1);
  }
  return plan;
}

}  // namespace redline
