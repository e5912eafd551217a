// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>

#include "redline/export.h"

namespace redline {

inline constexpr int kMaxRank = 16;

// Concrete sizes of a tensor, outermost first; inline storage, so copying never allocates.
// Callers check rank <= kMaxRank before they build one from outside data.
class REDLINE_API Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> dims) : Dims(std::span(dims.begin(), dims.size())) {}
  explicit Dims(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
    std::copy(dims.begin(), dims.end(), dims_);
  }

  int rank() const { return rank_; }
  size_t size() const { return static_cast<size_t>(rank_); }
  bool empty() const { return rank_ == 0; }
  int64_t operator[](size_t i) const { return dims_[i]; }
  int64_t& operator[](size_t i) { return dims_[i]; }
  const int64_t* begin() const { return dims_; }
  const int64_t* end() const { return dims_ + rank_; }
  int64_t* begin() { return dims_; }
  int64_t* end() { return dims_ + rank_; }
  int64_t back() const { return dims_[rank_ - 1]; }
  void push_back(int64_t dim) { dims_[rank_++] = dim; }
  void resize(int rank, int64_t fill = 0) {
    for (int i = rank_; i < rank; ++i) dims_[i] = fill;
    rank_ = rank;
  }

  // Product of all sizes (1 for rank 0). Sizes were checked when the tensor was made.
  int64_t count() const { return count(0, rank_); }
  int64_t count(int first, int last) const {
    int64_t product = 1;
    for (int i = first; i < last; ++i) product *= dims_[i];
    return product;
  }
  // Row-major strides in elements.
  Dims strides() const {
    Dims result;
    result.resize(rank_);
    int64_t stride = 1;
    for (int i = rank_ - 1; i >= 0; --i) {
      result[static_cast<size_t>(i)] = stride;
      stride *= dims_[i];
    }
    return result;
  }
  std::string to_string() const;  // "[2, 3]"

  friend bool operator==(const Dims& a, const Dims& b) {
    return a.rank_ == b.rank_ && std::equal(a.begin(), a.end(), b.begin());
  }

 private:
  int64_t dims_[kMaxRank] = {};
  int rank_ = 0;
};

// Element count with overflow and sign checks, for sizes from outside; nullopt when not
// representable.
REDLINE_API std::optional<int64_t> checked_count(std::span<const int64_t> dims);

}  // namespace redline
