// SPDX-License-Identifier: Apache-2.0
#include "onnx/import_rule.h"

namespace redline {
namespace {

template <class T>
Tensor list(DType dtype, const std::vector<T>& values) {
  return Tensor::from<T>(dtype, {static_cast<int64_t>(values.size())}, values);
}

// One of eight attributes holds the value; it becomes a constant of the graph.
Status import_constant(ImportContext& c) {
  Tensor value;
  if (c.has_attr("value")) {
    value = c.tensor_attr("value");
  } else if (c.has_attr("sparse_value")) {
    value = c.tensor_attr("sparse_value");
  } else if (c.has_attr("value_float")) {
    value = Tensor::scalar_float(c.float_attr("value_float"));
  } else if (c.has_attr("value_floats")) {
    value = list(DType::kFloat32, c.floats_attr("value_floats"));
  } else if (c.has_attr("value_int")) {
    value = Tensor::scalar_int64(c.int_attr("value_int"));
  } else if (c.has_attr("value_ints")) {
    value = list(DType::kInt64, c.ints_attr("value_ints"));
  } else if (c.has_attr("value_string")) {
    value = list<std::string>(DType::kString, {c.string_attr("value_string")}).reshaped({});
  } else if (c.has_attr("value_strings")) {
    value = list(DType::kString, c.strings_attr("value_strings"));
  }
  if (!value.defined()) return c.unsupported_here("no attribute holds a value");
  c.set_output(0, c.constant(std::move(value)));
  return {};
}

}  // namespace

void register_import_constant(ImportRegistry& registry) {
  registry.add("Constant", import_constant);
}

}  // namespace redline
