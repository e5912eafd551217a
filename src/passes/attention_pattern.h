// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "ir/graph.h"

namespace redline {

// Something that hides scores: numbers to add, or bools where scores are (not) kept, the others
// becoming `fill`.
struct ScoreMask {
  enum class Kind { kBias, kKeep, kHide };
  Kind kind = Kind::kBias;
  Value* value = nullptr;
  double fill = -std::numeric_limits<double>::infinity();
};

// An operand as the model makes it: heads are transpose(value, perm), nothing to transpose when
// perm is empty.
struct HeadOperand {
  Value* value = nullptr;
  std::vector<int64_t> perm;

  Dim dim(int axis) const {
    auto from = perm.empty() ? static_cast<int64_t>(axis) : perm[static_cast<size_t>(axis)];
    return value->shape()[static_cast<int>(from)];
  }
  int rank() const { return value->shape().rank(); }
};

// softmax(q k^T * scale + masks) v. Heads are [batch, heads, length, size], or [batch, length,
// size] where there is one.
struct AttentionMatch {
  HeadOperand q, k, v;
  double scale = 1;
  double softcap = 0;
  bool causal = false;
  std::vector<ScoreMask> masks;
  Value* scores = nullptr;  // what softmax reads
  std::optional<DType> softmax_dtype;
};

// What the product p v is, when it is the last step of attention.
std::optional<AttentionMatch> find_attention(Node* product);

}  // namespace redline
