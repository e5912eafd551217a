// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_plan.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <utility>

namespace redline {
namespace {

// How many pairs of items the search may look at: some milliseconds, needed only where the bound is
// not reached. Counted, not timed, so that equal items always get equal offsets.
constexpr size_t kSearchPairs = 600'000;
// Changes in a row that gained nothing before the search goes back to the best plan.
constexpr int kPatience = 30;

size_t round_up(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

std::vector<size_t> rounded_sizes(std::span<const MemoryItem> items, size_t alignment) {
  std::vector<size_t> bytes;
  for (const MemoryItem& item : items) bytes.push_back(round_up(item.bytes, alignment));
  return bytes;
}

// Bytes alive at each step.
std::vector<size_t> live_bytes(std::span<const MemoryItem> items, std::span<const size_t> bytes) {
  int steps = 0;
  for (const MemoryItem& item : items) steps = std::max(steps, item.last + 1);
  // What is born minus what has died; unsigned sums wrap back to what they should be.
  std::vector<size_t> live(static_cast<size_t>(steps) + 1);
  for (size_t i = 0; i < items.size(); ++i) {
    live[static_cast<size_t>(items[i].first)] += bytes[i];
    live[static_cast<size_t>(items[i].last) + 1] -= bytes[i];
  }
  std::partial_sum(live.begin(), live.end(), live.begin());
  return live;
}

// Items are placed one after the other. What is searched for is an order, and for each item which
// end of its gap it takes, such that all of them end below the bound.
class Search {
 public:
  Search(std::span<const MemoryItem> items, size_t alignment,
         std::span<const std::pair<size_t, size_t>> apart)
      : items_(items),
        bytes_(rounded_sizes(items, alignment)),
        crowd_(items.size()),
        neighbours_(items.size()) {
    measure_crowds();
    find_neighbours();
    for (auto [a, b] : apart) {
      if (bytes_[a] == 0 || bytes_[b] == 0) continue;
      neighbours_[a].push_back(b);
      neighbours_[b].push_back(a);
    }
    best_.peak = SIZE_MAX;
    best_.excess = SIZE_MAX;
  }

  MemoryPlan run() {
    // No order is best for every graph.
    using Key = std::pair<size_t, size_t>;
    const std::function<Key(size_t)> keys[] = {
        [this](size_t i) { return Key(bytes_[i], length(i)); },
        [this](size_t i) { return Key(bytes_[i] * length(i), bytes_[i]); },
        [this](size_t i) { return Key(length(i), bytes_[i]); },
        [this](size_t i) { return Key(crowd_[i], bytes_[i]); },
        [this](size_t i) {
          return Key(SIZE_MAX - static_cast<size_t>(items_[i].first), bytes_[i]);
        },
    };
    for (const auto& key : keys) {
      for (bool two_ended : {false, true}) {
        bool enough = best_.peak <= bound_ || pairs_ > kSearchPairs;
        if (!enough) keep_if_best(place_sorted(key, two_ended));
      }
    }
    if (best_.peak > bound_) improve();
    return {std::move(best_.offsets), best_.peak, bound_};
  }

 private:
  struct Attempt {
    std::vector<size_t> order;
    std::vector<bool> high;  // takes the upper end of its gap
    std::vector<size_t> offsets;
    size_t peak = 0;
    size_t excess = 0;  // how far items reach above the bound, in sum
  };

  size_t length(size_t i) const {
    return static_cast<size_t>(items_[i].last - items_[i].first) + 1;
  }

  void measure_crowds() {
    std::vector<size_t> live = live_bytes(items_, bytes_);
    for (size_t i = 0; i < items_.size(); ++i) {
      auto from = live.begin() + items_[i].first;
      crowd_[i] = *std::max_element(from, from + static_cast<ptrdiff_t>(length(i)));
      bound_ = std::max(bound_, crowd_[i]);
    }
  }

  // Which items must not overlap: those that are alive at the same time.
  void find_neighbours() {
    std::vector<size_t> by_time(items_.size());
    std::iota(by_time.begin(), by_time.end(), size_t{0});
    std::stable_sort(by_time.begin(), by_time.end(),
                     [this](size_t a, size_t b) { return items_[a].first < items_[b].first; });
    std::vector<size_t> alive;
    for (size_t i : by_time) {
      if (bytes_[i] == 0) continue;
      std::erase_if(alive, [&](size_t j) { return items_[j].last < items_[i].first; });
      for (size_t j : alive) {
        neighbours_[i].push_back(j);
        neighbours_[j].push_back(i);
      }
      alive.push_back(i);
    }
  }

  // Two-ended: what goes from one step to the next takes the upper end of its gap.
  Attempt place_sorted(const std::function<std::pair<size_t, size_t>(size_t)>& key,
                       bool two_ended) {
    Attempt attempt;
    attempt.order.resize(items_.size());
    for (size_t i = 0; i < items_.size(); ++i) {
      attempt.high.push_back(two_ended && length(i) <= 2);
    }
    std::iota(attempt.order.begin(), attempt.order.end(), size_t{0});
    std::stable_sort(attempt.order.begin(), attempt.order.end(),
                     [&](size_t a, size_t b) { return key(a) > key(b); });
    place(attempt);
    return attempt;
  }

  void place(Attempt& attempt) {
    attempt.offsets.assign(items_.size(), SIZE_MAX);
    attempt.peak = 0;
    attempt.excess = 0;
    for (size_t i : attempt.order) {
      attempt.offsets[i] = best_fit(attempt, i);
      size_t end = attempt.offsets[i] + bytes_[i];
      attempt.peak = std::max(attempt.peak, end);
      if (end > bound_) attempt.excess += end - bound_;
    }
  }

  // In the smallest gap below the bound that the item fits in, else above all that is in the way.
  size_t best_fit(const Attempt& attempt, size_t i) {
    in_the_way_.clear();
    for (size_t j : neighbours_[i]) {
      size_t offset = attempt.offsets[j];
      if (offset != SIZE_MAX) in_the_way_.emplace_back(offset, offset + bytes_[j]);
    }
    pairs_ += neighbours_[i].size() + 1;
    std::sort(in_the_way_.begin(), in_the_way_.end());
    size_t best = SIZE_MAX;
    size_t best_gap = SIZE_MAX;
    size_t end = 0;  // of what is in the way so far
    auto offer_gap_to = [&](size_t from) {
      if (from < end || from - end < bytes_[i] || from - end >= best_gap) return;
      best_gap = from - end;
      best = attempt.high[i] ? from - bytes_[i] : end;
    };
    for (auto [from, to] : in_the_way_) {
      offer_gap_to(from);
      end = std::max(end, to);
    }
    offer_gap_to(bound_);
    return best == SIZE_MAX ? end : best;
  }

  void keep_if_best(const Attempt& attempt) {
    if (std::pair(attempt.peak, attempt.excess) < std::pair(best_.peak, best_.excess)) {
      best_ = attempt;
    }
  }

  // Small changes around what lies above the bound. Somewhat worse is taken too, or the search
  // would soon stand still.
  void improve() {
    Attempt now = best_;
    Attempt next;
    int idle = 0;
    while (best_.peak > bound_ && pairs_ < kSearchPairs) {
      next = now;
      change(next);
      place(next);
      bool better = next.excess < now.excess;
      if (next.excess <= now.excess + now.excess * random(32) / 128) std::swap(now, next);
      keep_if_best(now);
      idle = better ? 0 : idle + 1;
      if (idle < kPatience) continue;
      now = best_;
      idle = 0;
    }
  }

  // Takes an item that lies above the bound, or one beside it, and lets it choose earlier, later or
  // the other end of its gap.
  void change(Attempt& attempt) {
    above_.clear();
    for (size_t i = 0; i < items_.size(); ++i) {
      if (attempt.offsets[i] + bytes_[i] > bound_) above_.push_back(i);
    }
    size_t moved = above_[random(above_.size())];
    size_t beside = neighbour(moved);
    switch (random(4)) {
      case 0:
        attempt.high[beside] = !attempt.high[beside];
        return;
      case 1:
        return move_to(attempt.order, beside, neighbour(beside));
      case 2:
        return move_to(attempt.order, moved, beside);
      default:
        return move_to(attempt.order, moved, attempt.order.front());
    }
  }

  static void move_to(std::vector<size_t>& order, size_t item, size_t place) {
    auto from = std::find(order.begin(), order.end(), item);
    auto to = std::find(order.begin(), order.end(), place);
    if (to < from) {
      std::rotate(to, from, from + 1);
    } else {
      std::rotate(from, from + 1, to + 1);
    }
  }

  // What lies above the bound shares time with something, or it would lie at 0.
  size_t neighbour(size_t i) { return neighbours_[i][random(neighbours_[i].size())]; }

  size_t random(size_t below) {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((random_ >> 33) % below);
  }

  std::span<const MemoryItem> items_;
  std::vector<size_t> bytes_;  // rounded up
  std::vector<size_t> crowd_;  // the most bytes alive at a step of the item
  std::vector<std::vector<size_t>> neighbours_;
  size_t bound_ = 0;
  Attempt best_;
  size_t pairs_ = 0;
  uint64_t random_ = 1;
  std::vector<std::pair<size_t, size_t>> in_the_way_;
  std::vector<size_t> above_;
};

}  // namespace

size_t live_peak(std::span<const MemoryItem> items, size_t alignment) {
  std::vector<size_t> live = live_bytes(items, rounded_sizes(items, alignment));
  return *std::max_element(live.begin(), live.end());
}

MemoryPlan plan_memory(std::span<const MemoryItem> items, size_t alignment,
                       std::span<const std::pair<size_t, size_t>> apart) {
  return Search(items, alignment, apart).run();
}

}  // namespace redline
