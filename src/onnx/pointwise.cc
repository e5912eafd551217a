// SPDX-License-Identifier: Apache-2.0
#include "ops/pointwise.h"

#include "onnx/import_rule.h"
#include "ops/reshape.h"

namespace redline {
namespace {

// Before opset 7 the axes of the second operand, when it broadcasts, begin at `axis` of the first
// (without one they are the last, as ever); the slope of PRelu lies along the channels.
Result<Value*> second_operand_before_7(ImportContext& c) {
  Value* a = c.input(0);
  Value* b = c.input(1);
  if (a == nullptr || b == nullptr) return invalid_argument(c.op_type(), ": an input is missing");
  bool slope = c.op_type() == "PRelu";
  if (!slope && (c.int_attr("broadcast") == 0 || !c.has_attr("axis"))) return b;
  if (!a->shape().has_rank() || !b->shape().has_rank()) {
    return c.unsupported_here("operands of unknown rank, broadcast before opset 7");
  }
  int rank = a->shape().rank();
  if (slope && (b->shape().rank() != 1 || rank < 2)) return b;
  int64_t axis = slope ? 1 : c.int_attr("axis");
  if (axis < 0) axis += rank;
  int64_t after = rank - axis - b->shape().rank();
  if (axis < 0 || after < 0) {
    return invalid_argument("attribute 'axis' is ", c.int_attr("axis"), ", but the operands have ",
                            rank, " and ", b->shape().rank(), " axes");
  }
  if (after == 0) return b;
  std::vector<int64_t> sizes(static_cast<size_t>(b->shape().rank()), 0);  // 0 keeps a size
  sizes.insert(sizes.end(), static_cast<size_t>(after), 1);
  return c.emit("reshape", {b, c.constant_ints(sizes)}, ReshapeAttrs{});
}

Status import_row(ImportContext& c) {
  for (const PointwiseRow& row : pointwise_rows()) {
    if (row.onnx_name != c.op_type()) continue;
    if (c.opset() >= 7 || c.num_inputs() != 2) return c.import_same(row.name);
    REDLINE_ASSIGN(Value * b, second_operand_before_7(c));
    REDLINE_ASSIGN(Value * value, c.emit(row.name, {c.input(0), b}));
    c.set_output(0, value);
    return {};
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
