// SPDX-License-Identifier: Apache-2.0
#include "passes/reshape_groups.h"

#include <algorithm>

namespace redline {
namespace {

bool is_empty(const Dims& dims) { return std::find(dims.begin(), dims.end(), 0) != dims.end(); }

// The axes whose size is not 1.
std::vector<size_t> long_axes(const Dims& dims) {
  std::vector<size_t> axes;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != 1) axes.push_back(i);
  }
  return axes;
}

Dims sizes_of(const Dims& dims, const std::vector<size_t>& axes) {
  Dims sizes;
  for (size_t axis : axes) sizes.push_back(dims[axis]);
  return sizes;
}

}  // namespace

bool ReshapedTranspose::is_identity() const { return std::is_sorted(perm.begin(), perm.end()); }

std::optional<std::vector<ReshapeGroup>> reshape_groups(const Dims& from, const Dims& to) {
  if (from.count() != to.count()) return std::nullopt;
  std::vector<ReshapeGroup> groups;
  size_t i = 0;
  size_t j = 0;
  while (i < from.size() && j < to.size()) {
    ReshapeGroup group{i, i + 1, j, j + 1};
    int64_t left = from[i++];
    int64_t right = to[j++];
    while (left != right) {
      if (left < right) {
        left *= from[i++];
      } else {
        right *= to[j++];
      }
    }
    group.from_last = i;
    group.to_last = j;
    groups.push_back(group);
  }
  return groups;
}

std::optional<ReshapedTranspose> reshape_first(const Dims& x, const std::vector<int64_t>& perm,
                                               const Dims& to) {
  if (is_empty(x) || is_empty(to) || perm.size() != x.size()) return std::nullopt;
  // The long axes of x, counted without the others, in the order that perm gives them.
  std::vector<size_t> of_x = long_axes(x);
  std::vector<size_t> order;
  Dims moved;
  for (int64_t axis : perm) {
    auto place = std::find(of_x.begin(), of_x.end(), static_cast<size_t>(axis));
    if (place == of_x.end()) continue;
    order.push_back(static_cast<size_t>(place - of_x.begin()));
    moved.push_back(x[static_cast<size_t>(axis)]);
  }
  std::vector<size_t> of_to = long_axes(to);
  std::optional<std::vector<ReshapeGroup>> groups = reshape_groups(moved, sizes_of(to, of_to));
  if (!groups) return std::nullopt;
  for (const ReshapeGroup& group : *groups) {
    for (size_t i = group.from_first + 1; i < group.from_last; ++i) {
      if (order[i] != order[i - 1] + 1) return std::nullopt;
    }
  }
  std::sort(groups->begin(), groups->end(), [&](const ReshapeGroup& a, const ReshapeGroup& b) {
    return order[a.from_first] < order[b.from_first];
  });
  ReshapedTranspose result;
  result.sizes = to;
  result.perm.resize(to.size());
  for (size_t i = 0; i < to.size(); ++i) result.perm[i] = static_cast<int64_t>(i);
  size_t place = 0;
  for (const ReshapeGroup& group : *groups) {
    for (size_t j = group.to_first; j < group.to_last; ++j) {
      size_t at = of_to[place++];
      result.sizes[at] = to[of_to[j]];
      result.perm[of_to[j]] = static_cast<int64_t>(at);
    }
  }
  return result;
}

}  // namespace redline
