// SPDX-License-Identifier: Apache-2.0
#include "ops/pointwise.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

Status import_row(ImportContext& c) {
  for (const PointwiseRow& row : pointwise_rows()) {
    if (row.onnx_name == c.op_type()) return c.import_same(row.name);
  }
  return internal_error(c.op_type(), " is not in the pointwise table");
}

// max(a, b, c) is max(max(a, b), c); one operand is itself.
Result<Value*> import_chain(ImportContext& c, std::string_view op) {
  if (c.num_inputs() == 0) return invalid_argument(c.op_type(), " has no inputs");
  Value* value = c.input(0);
  for (size_t i = 1; i < c.num_inputs(); ++i) {
    REDLINE_ASSIGN(value, c.emit(op, {value, c.input(i)}));
  }
  if (value == nullptr) return invalid_argument(c.op_type(), ": input 0 is missing");
  return value;
}

Status import_max(ImportContext& c) {
  REDLINE_ASSIGN(Value * value, import_chain(c, "max"));
  c.set_output(0, value);
  return {};
}

Status import_min(ImportContext& c) {
  REDLINE_ASSIGN(Value * value, import_chain(c, "min"));
  c.set_output(0, value);
  return {};
}

Status import_sum(ImportContext& c) {
  REDLINE_ASSIGN(Value * value, import_chain(c, "add"));
  c.set_output(0, value);
  return {};
}

Status import_mean(ImportContext& c) {
  REDLINE_ASSIGN(Value * value, import_chain(c, "add"));
  if (c.num_inputs() > 1) {
    Value* n = c.constant_scalar(value->dtype(), static_cast<double>(c.num_inputs()));
    REDLINE_ASSIGN(value, c.emit("div", {value, n}));
  }
  c.set_output(0, value);
  return {};
}

// The limits were attributes before opset 11.
Status import_clip(ImportContext& c) {
  if (c.opset() >= 11) return c.import_same("clip");
  Value* x = c.input(0);
  if (x == nullptr) return invalid_argument("Clip: input 0 is missing");
  Value* low = nullptr;
  Value* high = nullptr;
  if (c.has_attr("min")) low = c.constant_scalar(x->dtype(), c.float_attr("min"));
  if (c.has_attr("max")) high = c.constant_scalar(x->dtype(), c.float_attr("max"));
  REDLINE_ASSIGN(Value * value, c.emit("clip", {x, low, high}));
  c.set_output(0, value);
  return {};
}

Status import_swiglu(ImportContext& c) {
  REDLINE_ASSIGN(Value * gate,
                 c.emit("swish", {c.input(0)}, SwishAttrs{.alpha = c.float_attr("alpha", 1)}));
  REDLINE_ASSIGN(Value * value, c.emit("mul", {gate, c.input(1)}));
  c.set_output(0, value);
  return {};
}

// x, or x + bias when there is a bias.
Result<Value*> with_bias(ImportContext& c) {
  if (c.input(1) == nullptr) return c.input(0);
  return c.emit("add", {c.input(0), c.input(1)});
}

Status import_fast_gelu(ImportContext& c) {
  REDLINE_ASSIGN(Value * x, with_bias(c));
  REDLINE_ASSIGN(Value * value, c.emit("gelu", {x}, GeluAttrs{GeluForm::kTanh}));
  c.set_output(0, value);
  return {};
}

Status import_bias_gelu(ImportContext& c) {
  REDLINE_ASSIGN(Value * x, with_bias(c));
  REDLINE_ASSIGN(Value * value, c.emit("gelu", {x}, GeluAttrs{}));
  c.set_output(0, value);
  return {};
}

Status import_quick_gelu(ImportContext& c) {
  REDLINE_ASSIGN(Value * value,
                 c.emit("swish", {c.input(0)}, SwishAttrs{.alpha = c.float_attr("alpha", 1.702f)}));
  c.set_output(0, value);
  return {};
}

}  // namespace

void register_import_pointwise(ImportRegistry& registry) {
  for (const PointwiseRow& row : pointwise_rows()) {
    if (!row.onnx_name.empty()) registry.add(std::string(row.onnx_name), import_row);
  }
  registry.add("Max", import_max);
  registry.add("Min", import_min);
  registry.add("Sum", import_sum);
  registry.add("Mean", import_mean);
  registry.add("Clip", import_clip);
  registry.add("SwiGLU", import_swiglu);
  registry.add({"com.microsoft", "Gelu", import_row});
  registry.add({"com.microsoft", "FastGelu", import_fast_gelu});
  registry.add({"com.microsoft", "BiasGelu", import_bias_gelu});
  registry.add({"com.microsoft", "QuickGelu", import_quick_gelu});
}

}  // namespace redline
