// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace redline {

enum class RecurrentDirection : uint8_t { kForward, kReverse, kBidirectional };
inline std::span<const std::string_view> enum_names(RecurrentDirection) {
  static constexpr std::string_view kNames[] = {"forward", "reverse", "bidirectional"};
  return kNames;
}

// rnn(x, w, r, bias?, lengths?, h?) -> y, y_h, gru(same) -> y, y_h and
// lstm(x, w, r, bias?, lengths?, h?, c?, peepholes?) -> y, y_h, y_c, as ONNX has them; gates in the
// order zrh and iofc. x is [sequence, batch, input], y [sequence, directions, batch, hidden] and
// the states [directions, batch, hidden]; with batch_first x is [batch, sequence, input], y [batch,
// sequence, directions, hidden] and the states [batch, directions, hidden].
// Steps beyond a sequence's length give zero, and leave the states alone.
struct RecurrentAttrs {
  RecurrentDirection direction = RecurrentDirection::kForward;
  bool batch_first = false;
  std::optional<float> clip;  // of what goes into each activation
  // By direction and gate function; empty: those of the op. Each takes the next alpha and beta if
  // it has such.
  std::vector<std::string> activations;
  std::vector<float> alphas;
  std::vector<float> betas;
  bool linear_before_reset = false;  // gru
  bool input_forget = false;         // lstm
  template <class V>
  void fields(V& v) {
    v("direction", direction);
    v("batch_first", batch_first);
    v("clip", clip);
    v("activations", activations);
    v("alphas", alphas);
    v("betas", betas);
    v("linear_before_reset", linear_before_reset);
    v("input_forget", input_forget);
  }
};

inline int64_t recurrent_directions(const RecurrentAttrs& attrs) {
  return attrs.direction == RecurrentDirection::kBidirectional ? 2 : 1;
}

// A function with its parameters; the name in small letters.
struct RecurrentActivation {
  std::string_view name;
  double (*apply)(double x, double alpha, double beta) = nullptr;
  double alpha = 0;
  double beta = 0;
};

// By direction and gate function, for an op ("rnn", "gru", "lstm").
Result<std::vector<RecurrentActivation>> recurrent_activations(const RecurrentAttrs& attrs,
                                                               std::string_view op);

}  // namespace redline
