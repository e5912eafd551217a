// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/constant_of_shape.h"
#include "ops/shape.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// The one element of the attribute, by its bits, so that NaN and the last digit survive.
Result<std::string> constant_of_shape(ElementContext& c, const ElementIndex&) {
  const std::optional<Tensor>& value = c.attrs<ConstantOfShapeAttrs>().value;
  if (!value) return std::string("float(0)");
  std::string bytes;
  for (size_t i = 0; i < value->bytes(); ++i) {
    bytes += str_cat(i ? ", " : "",
                     std::to_integer<int>(static_cast<const std::byte*>(value->raw())[i]));
  }
  std::string_view type = storage_type(value->dtype());
  std::string held =
      c.variable(str_cat("union { unsigned char bytes[sizeof(", type, ")]; ", type, " value; }"),
                 str_cat("{{", bytes, "}}"));
  return str_cat("widen(", held, ".value)");
}

Result<std::string> shape(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<ShapeAttrs>();
  const std::vector<std::string>& dims = c.input(0).dims;
  auto rank = static_cast<int64_t>(dims.size());
  int64_t start = std::clamp<int64_t>(attrs.start < 0 ? attrs.start + rank : attrs.start, 0, rank);
  std::string result = c.variable("i64", "0");
  for (int64_t axis = start; axis < rank; ++axis) {
    c.line(str_cat("if (", at[0], " == ", axis - start, ") ", result, " = (i64)(",
                   dims[static_cast<size_t>(axis)], ");"));
  }
  return result;
}

Result<std::string> size(ElementContext& c, const ElementIndex&) {
  std::string count = "1LL";
  for (const std::string& dim : c.input(0).dims) count += str_cat(" * (i64)(", dim, ")");
  return str_cat("(", count, ")");
}

}  // namespace

void register_element_fill(ElementRegistry& registry) {
  registry.add({.ops = {"constant_of_shape"}, .element = constant_of_shape});
  registry.add({.ops = {"shape"}, .element = shape});
  registry.add({.ops = {"size"}, .element = size});
}

}  // namespace redline
