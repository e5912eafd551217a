// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace redline {

enum class LinearUpdate : uint8_t { kLinear, kGated, kDelta, kGatedDelta };
inline std::span<const std::string_view> enum_names(LinearUpdate) {
  static constexpr std::string_view kNames[] = {"linear", "gated", "delta", "gated_delta"};
  return kNames;
}

// linear_attention(q, k, v, past_state?, decay?, beta?) -> y, present_state: per head a state
// S [key_size, value_size] that each token t updates and reads,
//   S *= exp(decay_t) (gated), S += k_t (beta_t (v_t - S^T k_t))^T (delta) or k_t v_t^T,
//   y_t = scale S^T q_t.
// q, k, v, decay and beta are [batch, sequence, heads * size]. scale 0: 1/sqrt(key_size).
// `chunk_size` is a hint. Without a past the state has the type of q.
struct LinearAttentionAttrs {
  int64_t q_heads = 0;
  int64_t kv_heads = 0;
  float scale = 0;
  LinearUpdate update = LinearUpdate::kGatedDelta;
  int64_t chunk_size = 64;
  template <class V>
  void fields(V& v) {
    v("q_heads", q_heads);
    v("kv_heads", kv_heads);
    v("scale", scale);
    v("update", update);
    v("chunk_size", chunk_size);
  }
};

}  // namespace redline
