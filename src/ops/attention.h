// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/dtype.h"

namespace redline {

// What the fourth output of attention holds.
enum class QkOutput : uint8_t { kProduct, kSoftcapped, kBiased, kProbabilities };
inline std::span<const std::string_view> enum_names(QkOutput) {
  static constexpr std::string_view kNames[] = {"product", "softcapped", "biased", "probabilities"};
  return kNames;
}

// attention(q, k, v, mask?, past_k?, past_v?, kv_lengths?) -> y, present_k?, present_v?, qk?
// Operands are [batch, heads, sequence, head_size], or [batch, sequence, heads * head_size] with
// both head counts given. Query heads share key heads in groups of equal size. `mask` broadcasts to
// [batch, heads, queries, keys], is bool (true: attend) or a number added to the scores, and counts
// as "do not attend" beyond its last axis. kv_lengths[b] keys of each batch are valid.
// Query i stands at position i + offset, where offset is the length of the past, or kv_lengths[b] -
// queries, or 0; causal attention and the windows (-1: unbounded) go by positions. A row that
// attends to nothing is zero. scale: 1/sqrt(head_size) unless given. softcap 0: none.
struct AttentionAttrs {
  int64_t q_heads = 0;
  int64_t kv_heads = 0;
  std::optional<float> scale;
  float softcap = 0;
  bool causal = false;
  int64_t left_window = -1;
  int64_t right_window = -1;
  std::optional<DType> softmax_dtype;
  QkOutput qk_output = QkOutput::kProduct;
  bool tf32 = false;  // see tf32.h; probabilities are not rounded
  // q, k and v are [batch, sequence, (q_heads + 2 kv_heads) * size]: rows that hold all three, one
  // behind another, of which each operand gives its own. No past goes with it.
  bool packed = false;
  template <class V>
  void fields(V& v) {
    v("q_heads", q_heads);
    v("kv_heads", kv_heads);
    v("scale", scale);
    v("softcap", softcap);
    v("causal", causal);
    v("left_window", left_window);
    v("right_window", right_window);
    v("softmax_dtype", softmax_dtype);
    v("qk_output", qk_output);
    v("tf32", tf32);
    v("packed", packed);
  }
};

// Of q, k and v, which are operands 0 to 2: the heads of each, and those of the rows it lies in.
inline int64_t operand_heads(const AttentionAttrs& attrs, size_t operand) {
  return operand == 0 ? attrs.q_heads : attrs.kv_heads;
}
inline int64_t row_heads(const AttentionAttrs& attrs, size_t operand) {
  return attrs.packed ? attrs.q_heads + 2 * attrs.kv_heads : operand_heads(attrs, operand);
}
// Which of the row's heads is its first.
inline int64_t first_head(const AttentionAttrs& attrs, size_t operand) {
  if (!attrs.packed || operand == 0) return 0;
  return attrs.q_heads + (operand == 1 ? 0 : attrs.kv_heads);
}

}  // namespace redline
