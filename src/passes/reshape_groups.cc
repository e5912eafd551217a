// SPDX-License-Identifier: Apache-2.0
#include "passes/reshape_groups.h"

#include <algorithm>

namespace redline {
namespace {

// The products of the first 1, 2, ... sizes.
SymDims leading_products(const SymDims& sizes) {
  SymDims products;
  Dim product = 1;
  for (const Dim& size : sizes) {
    product *= size;
    products.push_back(product);
  }
  return products;
}

bool is_usable(const SymDims& dims) {
  return std::none_of(dims.begin(), dims.end(),
                      [](const Dim& dim) { return dim == Dim(0) || dim.is_invalid(); });
}

}  // namespace

bool ReshapedTranspose::is_identity() const { return std::is_sorted(perm.begin(), perm.end()); }

std::vector<size_t> long_axes(const SymDims& dims) {
  std::vector<size_t> axes;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != Dim(1)) axes.push_back(i);
  }
  return axes;
}

SymDims sizes_of(const SymDims& dims, const std::vector<size_t>& axes) {
  SymDims sizes;
  for (size_t axis : axes) sizes.push_back(dims[axis]);
  return sizes;
}

std::optional<std::vector<ReshapeGroup>> reshape_groups(const SymDims& from, const SymDims& to) {
  SymDims left = leading_products(from);
  SymDims right = leading_products(to);
  if (left.empty() && right.empty()) return std::vector<ReshapeGroup>();
  bool whole = !left.empty() && !right.empty() && left.back() == right.back();
  if (!whole || !is_usable(left) || !is_usable(right)) return std::nullopt;
  std::vector<ReshapeGroup> groups;
  ReshapeGroup group;
  for (size_t i = 0; i < left.size(); ++i) {
    auto end =
        std::find(right.begin() + static_cast<int64_t>(group.to_first), right.end(), left[i]);
    if (end == right.end()) continue;
    group.from_last = i + 1;
    group.to_last = static_cast<size_t>(end - right.begin()) + 1;
    groups.push_back(group);
    group = {group.from_last, 0, group.to_last, 0};
  }
  return groups;
}

std::optional<ReshapedTranspose> reshape_first(const SymDims& x, const std::vector<int64_t>& perm,
                                               const SymDims& to) {
  if (!is_usable(x) || !is_usable(to) || perm.size() != x.size()) return std::nullopt;
  // The long axes of x, counted without the others, in the order that perm gives them.
  std::vector<size_t> of_x = long_axes(x);
  std::vector<size_t> order;
  SymDims moved;
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
