// SPDX-License-Identifier: Apache-2.0
#include "tune/sample.h"

#include <algorithm>
#include <random>

namespace redline {
namespace {

constexpr int64_t kAll = 1024;      // up to this many elements are checked all
constexpr int kRandom = 160;        // elements anywhere
constexpr size_t kMaxCorners = 64;  // of tensors with many axes some
constexpr int64_t kFirst = 2;       // along each axis, with random places along the others
constexpr int64_t kLast = 8;        // loops in blocks of 8 or more end here

}  // namespace

std::vector<int64_t> sample_elements(const Dims& dims, uint64_t seed) {
  std::vector<int64_t> elements;
  int64_t count = dims.count();
  if (count <= kAll) {
    for (int64_t i = 0; i < count; ++i) elements.push_back(i);
    return elements;
  }
  std::mt19937_64 random(seed);
  auto below = [&](int64_t limit) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(limit));
  };
  elements = {0};
  Dims strides = dims.strides();
  for (size_t axis = dims.size(); axis-- > 0 && elements.size() * 2 <= kMaxCorners;) {
    if (dims[axis] == 1) continue;
    size_t half = elements.size();
    for (size_t i = 0; i < half; ++i) {
      elements.push_back(elements[i] + (dims[axis] - 1) * strides[axis]);
    }
  }
  elements.push_back(count - 1);
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    for (int64_t i = 0; i < dims[axis]; ++i) {
      if (i == kFirst) i = std::max(i, dims[axis] - kLast);
      int64_t anywhere = below(count);
      int64_t own = anywhere / strides[axis] % dims[axis];
      elements.push_back(anywhere + (i - own) * strides[axis]);
    }
  }
  for (int i = 0; i < kRandom; ++i) elements.push_back(below(count));
  std::sort(elements.begin(), elements.end());
  elements.erase(std::unique(elements.begin(), elements.end()), elements.end());
  return elements;
}

}  // namespace redline
