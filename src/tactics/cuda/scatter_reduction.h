// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ops/scatter.h"
#include "tactics/cuda/element.h"

namespace redline {

// An expression for `old` changed by an update, both of the type's compute type; integers wrap, a
// NaN wins over every number.
inline std::string reduced(ScatterReduction reduction, DType dtype, const std::string& old,
                           const std::string& update) {
  std::string type(compute_type(dtype));
  bool extreme = reduction == ScatterReduction::kMax || reduction == ScatterReduction::kMin;
  if (reduction == ScatterReduction::kNone) return update;
  if (extreme) {
    std::string pick = str_cat(old, reduction == ScatterReduction::kMax ? " > " : " < ", update,
                               " ? ", old, " : ", update);
    if (!is_float(dtype)) return pick;
    return str_cat(old, " != ", old, " || ", update, " != ", update, " ? ", old, " + ", update,
                   " : (", pick, ")");
  }
  const char* op = reduction == ScatterReduction::kAdd ? " + " : " * ";
  if (is_float(dtype)) return str_cat(old, op, update);
  return str_cat("(", type, ")((u64)", old, op, "(u64)", update, ")");
}

}  // namespace redline
