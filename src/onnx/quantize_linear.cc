// SPDX-License-Identifier: Apache-2.0
#include "ops/quantize_linear.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

// A type attribute whose 0 means "not given".
std::optional<DType> optional_dtype(ImportContext& c, std::string_view name) {
  if (!c.has_attr(name) || c.int_attr(name) == 0) return std::nullopt;
  return c.dtype_attr(name, DType::kFloat32);
}

Status import_quantize(ImportContext& c) {
  QuantizeLinearAttrs attrs{.axis = c.int_attr("axis", 1),
                            .block_size = c.int_attr("block_size", 0),
                            .saturate = c.int_attr("saturate", 1) != 0,
                            .output_dtype = optional_dtype(c, "output_dtype"),
                            .precision = optional_dtype(c, "precision")};
  REDLINE_ASSIGN(Value * y, c.emit("quantize_linear", c.inputs(), attrs));
  c.set_output(0, y);
  return {};
}

Status import_dequantize(ImportContext& c) {
  DequantizeLinearAttrs attrs{.axis = c.int_attr("axis", 1),
                              .block_size = c.int_attr("block_size", 0),
                              .output_dtype = optional_dtype(c, "output_dtype")};
  REDLINE_ASSIGN(Value * y, c.emit("dequantize_linear", c.inputs(), attrs));
  c.set_output(0, y);
  return {};
}

Status import_dynamic_quantize(ImportContext& c) {
  return c.import_same("dynamic_quantize_linear");
}

}  // namespace

void register_import_quantize_linear(ImportRegistry& registry) {
  registry.add("QuantizeLinear", import_quantize);
  registry.add("DequantizeLinear", import_dequantize);
  registry.add("DynamicQuantizeLinear", import_dynamic_quantize);
  registry.add({"com.microsoft", "QuantizeLinear", import_quantize});
  registry.add({"com.microsoft", "DequantizeLinear", import_dequantize});
}

}  // namespace redline
