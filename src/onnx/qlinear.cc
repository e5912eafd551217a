// SPDX-License-Identifier: Apache-2.0
// Operators on quantised tensors become dequantize_linear, the plain operator, quantize_linear: the
// one form that Q/DQ models have anyway, from which integer kernels are chosen.
#include <numeric>

#include "onnx/import_rule.h"
#include "ops/cast.h"
#include "ops/conv.h"
#include "ops/gemm.h"
#include "ops/pointwise.h"
#include "ops/pool.h"
#include "ops/quantize_linear.h"

namespace redline {
namespace {

Status missing(const ImportContext& c, size_t i) {
  return invalid_argument(c.op_type(), ": input ", i, " is missing");
}

// The operands x, scale, zero point that begin at input i, in f32.
Result<Value*> dequantized(ImportContext& c, size_t i, int64_t axis = 1) {
  if (c.input(i) == nullptr) return missing(c, i);
  if (c.input(i + 1) == nullptr) return missing(c, i + 1);
  DequantizeLinearAttrs attrs{.axis = axis};
  if (c.input(i + 1)->dtype() != DType::kFloat32) attrs.output_dtype = DType::kFloat32;
  return c.emit("dequantize_linear", {c.input(i), c.input(i + 1), c.input(i + 2)}, attrs);
}

// Output 0 is y quantised by the scale and zero point that begin at input i.
Status set_quantized(ImportContext& c, Value* y, size_t i) {
  if (c.input(i) == nullptr) return missing(c, i);
  QuantizeLinearAttrs attrs;
  if (c.input(i)->dtype() != DType::kFloat32) attrs.precision = DType::kFloat32;
  REDLINE_ASSIGN(Value * q, c.emit("quantize_linear", {y, c.input(i), c.input(i + 1)}, attrs));
  c.set_output(0, q);
  return {};
}

Result<Value*> emit_map(ImportContext& c, std::string_view op, std::vector<Value*> inputs,
                        const AttrMap& map) {
  const OpDef* def = c.graph().registry().find(op);
  if (def == nullptr) return internal_error("no op named '", op, "'");
  REDLINE_ASSIGN(Attrs attrs, Attrs::load(def->attrs, map));
  return c.emit(op, std::move(inputs), std::move(attrs));
}

// x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias: i32 in units of x_scale * w_scale.
Status import_conv(ImportContext& c) {
  REDLINE_ASSIGN(Value * x, dequantized(c, 0));
  REDLINE_ASSIGN(Value * w, dequantized(c, 3, 0));
  Value* bias = c.input(8);
  if (bias != nullptr) {
    REDLINE_ASSIGN(Value * scale, c.emit("mul", {c.input(1), c.input(4)}));
    REDLINE_ASSIGN(bias,
                   c.emit("dequantize_linear", {bias, scale}, DequantizeLinearAttrs{.axis = 0}));
  }
  REDLINE_ASSIGN(Attrs attrs, c.load_attrs(attrs_type<ConvAttrs>(), {}, {"kernel_shape"}));
  REDLINE_ASSIGN(Value * y, c.emit("conv", {x, w, bias}, attrs));
  return set_quantized(c, y, 6);
}

// A matrix operand: its scale is one number, a vector (rows of a, columns of b), or shaped to
// broadcast.
Result<Value*> dequantized_matrix(ImportContext& c, size_t i, int64_t axis) {
  Value* scale = c.input(i + 1);
  if (scale == nullptr) return missing(c, i + 1);
  const Shape& shape = scale->shape();
  if (!shape.has_rank() || shape.rank() <= 1) return dequantized(c, i, axis);
  auto as_float = [&](Value* v) { return c.emit("cast", {v}, CastAttrs{DType::kFloat32}); };
  if (c.input(i) == nullptr) return missing(c, i);
  REDLINE_ASSIGN(Value * x, as_float(c.input(i)));
  if (c.input(i + 2) != nullptr) {
    REDLINE_ASSIGN(Value * zero, as_float(c.input(i + 2)));
    REDLINE_ASSIGN(x, c.emit("sub", {x, zero}));
  }
  if (scale->dtype() != DType::kFloat32) {
    REDLINE_ASSIGN(scale, as_float(scale));
  }
  return c.emit("mul", {x, scale});
}

Status import_matmul(ImportContext& c) {
  REDLINE_ASSIGN(Value * a, dequantized_matrix(c, 0, -2));
  REDLINE_ASSIGN(Value * b, dequantized_matrix(c, 3, -1));
  REDLINE_ASSIGN(Value * y, c.emit("matmul", {a, b}));
  return set_quantized(c, y, 6);
}

Status import_binary(ImportContext& c, std::string_view op) {
  REDLINE_ASSIGN(Value * a, dequantized(c, 0));
  REDLINE_ASSIGN(Value * b, dequantized(c, 3));
  REDLINE_ASSIGN(Value * y, c.emit(op, {a, b}));
  return set_quantized(c, y, 6);
}

Status import_sigmoid(ImportContext& c) {
  REDLINE_ASSIGN(Value * x, dequantized(c, 0));
  REDLINE_ASSIGN(Value * y, c.emit("sigmoid", {x}));
  return set_quantized(c, y, 3);
}

Status import_leaky_relu(ImportContext& c) {
  REDLINE_ASSIGN(Value * x, dequantized(c, 0));
  REDLINE_ASSIGN(Value * y,
                 c.emit("leaky_relu", {x}, LeakyReluAttrs{c.float_attr("alpha", 0.01f)}));
  return set_quantized(c, y, 3);
}

// Before opset 13 the axes from `axis` on were one.
Status import_softmax(ImportContext& c) {
  REDLINE_ASSIGN(Value * x, dequantized(c, 0));
  int64_t axis = c.int_attr("axis", -1);
  bool last = axis == -1 || (x->shape().has_rank() && axis == x->shape().rank() - 1);
  if (c.int_attr("opset", 13) < 13 && !last) {
    return c.unsupported_here("opset below 13 with an axis that is not the last");
  }
  REDLINE_ASSIGN(Value * y, emit_map(c, "softmax", {x}, {{"axis", axis}}));
  return set_quantized(c, y, 3);
}

Result<Value*> permuted(ImportContext& c, Value* x, bool channels_to_front) {
  if (!x->shape().has_rank() || x->shape().rank() < 3) {
    return c.unsupported_here("channels_last needs data of known rank, 3 or more");
  }
  std::vector<int64_t> perm(static_cast<size_t>(x->shape().rank()));
  std::iota(perm.begin(), perm.end(), 0);
  if (channels_to_front) {
    std::rotate(perm.begin() + 1, perm.end() - 1, perm.end());
  } else {
    std::rotate(perm.begin() + 1, perm.begin() + 2, perm.end());
  }
  return emit_map(c, "transpose", {x}, {{"perm", perm}});
}

Status import_pool(ImportContext& c, std::string_view op, Attrs attrs) {
  REDLINE_ASSIGN(Value * x, dequantized(c, 0));
  bool channels_last = c.int_attr("channels_last", 0) != 0;
  if (channels_last) {
    REDLINE_ASSIGN(x, permuted(c, x, true));
  }
  REDLINE_ASSIGN(Value * y, c.emit(op, {x}, std::move(attrs)));
  if (channels_last) {
    REDLINE_ASSIGN(y, permuted(c, y, false));
  }
  return set_quantized(c, y, 3);
}

Status import_average_pool(ImportContext& c) {
  REDLINE_ASSIGN(Attrs attrs, c.load_attrs(attrs_type<AveragePoolAttrs>(), {}, {"channels_last"}));
  return import_pool(c, "average_pool", std::move(attrs));
}

Status import_global_average_pool(ImportContext& c) {
  return import_pool(c, "global_average_pool", {});
}

// y_scale, y_zero, then (x, scale, zero) for each operand.
Status import_concat(ImportContext& c) {
  std::vector<Value*> parts;
  for (size_t i = 2; i < c.num_inputs(); i += 3) {
    REDLINE_ASSIGN(Value * part, dequantized(c, i));
    parts.push_back(part);
  }
  REDLINE_ASSIGN(Value * y,
                 emit_map(c, "concat", std::move(parts), {{"axis", c.int_attr("axis")}}));
  return set_quantized(c, y, 0);
}

Status import_where(ImportContext& c) {
  REDLINE_ASSIGN(Value * a, dequantized(c, 1));
  REDLINE_ASSIGN(Value * b, dequantized(c, 4));
  REDLINE_ASSIGN(Value * y, c.emit("where", {c.input(0), a, b}));
  return set_quantized(c, y, 7);
}

// a, a_scale, a_zero, b, b_scale, b_zero, c (i32 in units of alpha * a_scale * b_scale), y_scale?,
// y_zero?; without y_scale the result is f32.
Status import_gemm(ImportContext& c) {
  GemmAttrs attrs{.alpha = c.float_attr("alpha", 1),
                  .trans_a = c.int_attr("transA") != 0,
                  .trans_b = c.int_attr("transB") != 0};
  REDLINE_ASSIGN(Value * a, dequantized(c, 0));
  REDLINE_ASSIGN(Value * b, dequantized(c, 3, attrs.trans_b ? 0 : 1));
  Value* bias = c.input(6);
  if (bias != nullptr) {
    REDLINE_ASSIGN(Value * scale, c.emit("mul", {c.input(1), c.input(4)}));
    if (attrs.alpha != 1) {
      REDLINE_ASSIGN(scale,
                     c.emit("mul", {scale, c.constant_scalar(DType::kFloat32, attrs.alpha)}));
    }
    REDLINE_ASSIGN(bias, c.emit("cast", {bias}, CastAttrs{DType::kFloat32}));
    REDLINE_ASSIGN(bias, c.emit("mul", {bias, scale}));
  }
  REDLINE_ASSIGN(Value * y, c.emit("gemm", {a, b, bias}, attrs));
  if (c.input(7) != nullptr) return set_quantized(c, y, 7);
  c.set_output(0, y);
  return {};
}

// matmul_integer(a, b) * a_scale * b_scale + bias?
Status scaled_product(ImportContext& c, Value* product, Value* a_scale, Value* b_scale,
                      Value* bias) {
  if (a_scale == nullptr || b_scale == nullptr) return invalid_argument("a scale is missing");
  REDLINE_ASSIGN(Value * y, c.emit("cast", {product}, CastAttrs{a_scale->dtype()}));
  REDLINE_ASSIGN(Value * scale, c.emit("mul", {a_scale, b_scale}));
  REDLINE_ASSIGN(y, c.emit("mul", {y, scale}));
  if (bias != nullptr) {
    REDLINE_ASSIGN(y, c.emit("add", {y, bias}));
  }
  c.set_output(0, y);
  return {};
}

// a (f32), b, b_scale, b_zero?, bias?
Status import_dynamic_matmul(ImportContext& c) {
  REDLINE_ASSIGN(Node * a, c.emit_node("dynamic_quantize_linear", {c.input(0)}, {}, 3));
  REDLINE_ASSIGN(Value * product,
                 c.emit("matmul_integer", {a->output(0), c.input(1), a->output(2), c.input(3)}));
  return scaled_product(c, product, a->output(1), c.input(2), c.input(4));
}

// a, b, a_scale, b_scale, a_zero?, b_zero?, bias?
Status import_matmul_to_float(ImportContext& c) {
  REDLINE_ASSIGN(Value * product,
                 c.emit("matmul_integer", {c.input(0), c.input(1), c.input(4), c.input(5)}));
  return scaled_product(c, product, c.input(2), c.input(3), c.input(6));
}

}  // namespace

void register_import_qlinear(ImportRegistry& registry) {
  registry.add("QLinearConv", import_conv);
  registry.add("QLinearMatMul", import_matmul);
  auto add = [&](const char* op, Status (*import)(ImportContext&)) {
    registry.add({"com.microsoft", op, import});
  };
  add("QLinearAdd", [](ImportContext& c) { return import_binary(c, "add"); });
  add("QLinearMul", [](ImportContext& c) { return import_binary(c, "mul"); });
  add("QLinearSigmoid", import_sigmoid);
  add("QLinearLeakyRelu", import_leaky_relu);
  add("QLinearSoftmax", import_softmax);
  add("QLinearAveragePool", import_average_pool);
  add("QLinearGlobalAveragePool", import_global_average_pool);
  add("QLinearConcat", import_concat);
  add("QLinearWhere", import_where);
  add("QGemm", import_gemm);
  add("DynamicQuantizeMatMul", import_dynamic_matmul);
  add("MatMulIntegerToFloat", import_matmul_to_float);
}

}  // namespace redline
