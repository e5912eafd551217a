// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// einsum(inputs...): numpy's, with letters and "...", in the explicit or the implicit form.
struct EinsumAttrs {
  std::string equation;
  template <class V>
  void fields(V& v) {
    v("equation", equation);
  }
};

// An equation against the ranks of its operands. Each axis has a label: a letter, or a negative
// number for an axis of the ellipsis, -1 being its last.
struct EinsumTerms {
  std::vector<std::vector<int>> inputs;
  std::vector<int> output;
};
Result<EinsumTerms> parse_einsum(std::string_view equation, std::span<const int> ranks);

}  // namespace redline
