// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "ops/op.h"

namespace redline {

// The element type of a sequence that holds values of both types. Sizes that differ leave the rank
// unknown, as a symbol would stand for one size of all elements.
inline Result<Type> join_elements(const InferContext& c, const Type& a, const Type& b) {
  if (a.kind != b.kind || (a.is_tensor() && a.dtype != b.dtype)) {
    return c.error(
        str_cat("the types ", a.to_string(), " and ", b.to_string(), " do not go together"));
  }
  if (a == b) return a;
  if (a.is_tensor()) return Type::tensor(a.dtype, Shape());
  REDLINE_ASSIGN(Type element, join_elements(c, *a.element, *b.element));
  return a.kind == Type::Kind::kSequence ? Type::sequence(std::move(element))
                                         : Type::optional(std::move(element));
}

// The type of a value that has one type or the other.
inline Result<Type> join_types(InferContext& c, const Type& a, const Type& b,
                               std::string_view hint) {
  bool ranked = a.is_tensor() && b.is_tensor() && a.dtype == b.dtype && a.shape.has_rank() &&
                b.shape.has_rank() && a.shape.rank() == b.shape.rank();
  if (!ranked) return join_elements(c, a, b);
  SymDims dims = a.shape.dims();
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != b.shape.dims()[i]) dims[i] = c.fresh_symbol(hint);
  }
  return Type::tensor(a.dtype, std::move(dims));
}

}  // namespace redline
