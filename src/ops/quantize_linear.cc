// SPDX-License-Identifier: Apache-2.0
#include "ops/quantize_linear.h"

#include <algorithm>
#include <cmath>

#include "core/float_types.h"
#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {
namespace {

// Sizes of the scale and zero point against those of x.
Status check_scale(const InferContext& c, int64_t axis, int64_t block_size) {
  const Shape& x = c.shape(0);
  const Shape& scale = c.shape(1);
  if (block_size < 0) return c.error(str_cat("block_size is ", block_size));
  if (c.has_input(2)) {
    const Shape& zero = c.shape(2);
    // One of each may be a scalar and a list of one.
    bool single = zero.count() == Dim(1) && scale.count() == Dim(1);
    if (!single && zero.has_rank() && scale.has_rank() && zero.rank() != scale.rank()) {
      return c.input_error(2, str_cat("must have the sizes of the scale, ", scale.to_string()));
    }
  }
  if (!x.has_rank() || !scale.has_rank() || scale.rank() == 0) return {};
  if (block_size == 0 && scale.rank() > 1) {
    return c.input_error(1, "must be a scalar or rank 1 unless block_size is set");
  }
  std::optional<Dim> count = scale.count();
  if (block_size == 0 && count == Dim(1)) return {};
  REDLINE_ASSIGN(int at, c.normalize_axis(axis, x.rank()));
  if (block_size == 0) {
    if (x[at].is_const() && scale[0].is_const() && x[at] != scale[0]) {
      return c.input_error(1, str_cat("must have one element or ", x[at].value()));
    }
    return {};
  }
  if (scale.rank() != x.rank()) return c.input_error(1, "must have the rank of x");
  for (int i = 0; i < x.rank(); ++i) {
    Dim wanted = i == at ? ceil_div(x[i], Dim(block_size)) : x[i];
    if (wanted.is_const() && scale[i].is_const() && wanted != scale[i]) {
      return c.input_error(1, str_cat("has the size ", scale[i].value(), " at axis ", i,
                                      ", expected ", wanted.value()));
    }
  }
  return {};
}

// For each element of x, which element of the scale (and zero point) belongs to it.
class ScaleIndex {
 public:
  static Result<ScaleIndex> create(const TensorView& x, const TensorView& scale, int64_t axis,
                                   int64_t block_size) {
    ScaleIndex result;
    if (scale.count() == 1) return result;
    auto at = static_cast<size_t>(axis < 0 ? axis + x.dims.rank() : axis);
    int64_t size = block_size == 0 ? scale.count() : x.dims[at];
    if (size != x.dims[at]) {
      return invalid_argument("scale of sizes ", scale.dims.to_string(), " for x of sizes ",
                              x.dims.to_string());
    }
    result.inner_ = x.dims.count(static_cast<int>(at) + 1, x.dims.rank());
    result.size_ = size;
    if (block_size > 0) {
      result.block_ = block_size;
      result.blocks_ = scale.dims[at];
      result.blocked_ = true;
      if (result.blocks_ != (size == 0 ? 0 : 1 + (size - 1) / block_size)) {
        return invalid_argument("scale of sizes ", scale.dims.to_string(), " for x of sizes ",
                                x.dims.to_string(), " in blocks of ", block_size);
      }
    }
    return result;
  }
  size_t operator()(size_t flat) const {
    if (size_ == 0) return 0;
    auto i = static_cast<int64_t>(flat);
    int64_t along = i / inner_ % size_;
    if (!blocked_) return static_cast<size_t>(along);
    int64_t outer = i / inner_ / size_;
    return static_cast<size_t>((outer * blocks_ + along / block_) * inner_ + i % inner_);
  }

 private:
  int64_t inner_ = 1;
  int64_t size_ = 0;  // 0: one scale for all
  int64_t block_ = 1;
  int64_t blocks_ = 1;
  bool blocked_ = false;
};

Status infer_quantize(InferContext& c) {
  const auto& attrs = c.attrs<QuantizeLinearAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (!is_float(c.dtype(0)) && c.dtype(0) != DType::kInt32) {
    return c.input_error(0, "must have a floating-point type or i32");
  }
  if (!is_float(c.dtype(1)) && c.dtype(1) != DType::kInt32) {
    return c.input_error(1, "must have a floating-point type or i32");
  }
  if (attrs.precision && !is_float(*attrs.precision)) {
    return c.error("precision must be a floating-point type");
  }
  DType dtype = attrs.output_dtype.value_or(DType::kUInt8);
  if (c.has_input(2)) {
    REDLINE_TRY(c.expect_tensor(2));
    dtype = c.dtype(2);
    if (attrs.output_dtype && *attrs.output_dtype != dtype) {
      return c.input_error(2, str_cat("is not of output_dtype, ", dtype_name(*attrs.output_dtype)));
    }
  }
  if (dtype_bits(dtype) > 16 || dtype == DType::kBool || dtype == DType::kString) {
    return c.error(str_cat("cannot quantize to ", dtype_name(dtype)));
  }
  REDLINE_TRY(check_scale(c, attrs.axis, attrs.block_size));
  c.set_output(0, dtype, c.shape(0));
  return {};
}

// The type in which x / scale is rounded.
DType division_dtype(const ReferenceContext& c) {
  const auto& attrs = c.attrs<QuantizeLinearAttrs>();
  if (attrs.precision) return *attrs.precision;
  DType scale = c.input(1).dtype;
  if (scale == DType::kFloat64 || scale == DType::kFloat16 || scale == DType::kBFloat16) {
    return scale;
  }
  return DType::kFloat32;
}

Status reference_quantize(ReferenceContext& c) {
  const auto& attrs = c.attrs<QuantizeLinearAttrs>();
  const TensorView& out = c.output(0);
  REDLINE_ASSIGN(ScaleIndex index,
                 ScaleIndex::create(c.input(0), c.input(1), attrs.axis, attrs.block_size));
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> scale = read_elements<double>(c.input(1));
  std::vector<double> zero(scale.size());
  if (c.has_input(2)) {
    zero = read_elements<double>(c.input(2));
    if (zero.size() != scale.size()) {
      return invalid_argument("zero point of sizes ", c.input(2).dims.to_string(),
                              " for a scale of sizes ", c.input(1).dims.to_string());
    }
  }
  // Dividing in double and rounding once more is exact division in these narrower types.
  std::vector<double> quotient(x.size());
  for (size_t i = 0; i < x.size(); ++i) quotient[i] = x[i] / scale[index(i)];
  REDLINE_ASSIGN(Tensor rounded, Tensor::create(division_dtype(c), out.dims));
  write_elements(quotient, rounded.view());
  quotient = read_elements<double>(rounded.view());
  if (is_float(out.dtype)) {
    for (size_t i = 0; i < x.size(); ++i) quotient[i] += zero[index(i)];
    encode_floats(out.dtype, quotient.data(), out.data, quotient.size(), {attrs.saturate});
    return {};
  }
  std::vector<int64_t> whole(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    double value = std::nearbyint(quotient[i]) + zero[index(i)];
    whole[i] = saturating_int64(value, int_min(out.dtype), int_max(out.dtype));
  }
  write_elements(whole, out);
  return {};
}

Status infer_dequantize(InferContext& c) {
  const auto& attrs = c.attrs<DequantizeLinearAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (!is_float(c.dtype(1))) return c.input_error(1, "must have a floating-point type");
  if (c.dtype(0) == DType::kString || c.dtype(0) == DType::kBool) {
    return c.input_error(0, "must have a quantized type");
  }
  if (c.has_input(2)) REDLINE_TRY(c.expect_same_dtype(2, 0));
  REDLINE_TRY(check_scale(c, attrs.axis, attrs.block_size));
  DType dtype = attrs.output_dtype.value_or(c.dtype(1));
  if (!is_float(dtype)) return c.error("output_dtype must be a floating-point type");
  c.set_output(0, dtype, c.shape(0));
  return {};
}

Status reference_dequantize(ReferenceContext& c) {
  const auto& attrs = c.attrs<DequantizeLinearAttrs>();
  REDLINE_ASSIGN(ScaleIndex index,
                 ScaleIndex::create(c.input(0), c.input(1), attrs.axis, attrs.block_size));
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> scale = read_elements<double>(c.input(1));
  std::vector<double> zero(scale.size());
  if (c.has_input(2)) {
    zero = read_elements<double>(c.input(2));
    if (zero.size() != scale.size()) {
      return invalid_argument("zero point of sizes ", c.input(2).dims.to_string(),
                              " for a scale of sizes ", c.input(1).dims.to_string());
    }
  }
  for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - zero[index(i)]) * scale[index(i)];
  write_elements(x, c.output(0));
  return {};
}

Status infer_dynamic_quantize(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  c.set_output(0, DType::kUInt8, c.shape(0));
  c.set_output(1, DType::kFloat32, SymDims{});
  c.set_output(2, DType::kUInt8, SymDims{});
  return {};
}

// In float throughout: the results are exact bit patterns that others compute the same way.
Status reference_dynamic_quantize(ReferenceContext& c) {
  std::vector<double> x = read_elements<double>(c.input(0));
  double low = 0;
  double high = 0;
  for (double v : x) {
    low = std::min(low, v);
    high = std::max(high, v);
  }
  auto range = static_cast<float>(high) - static_cast<float>(low);
  float scale = (range == 0 ? 1.0f : range) / 255.0f;
  float zero = std::nearbyint(std::clamp(-static_cast<float>(low) / scale, 0.0f, 255.0f));
  for (size_t i = 0; i < x.size(); ++i) {
    float value = std::nearbyint(static_cast<float>(x[i]) / scale) + zero;
    c.output(0).as<uint8_t>()[i] = static_cast<uint8_t>(saturating_int64(value, 0, 255));
  }
  if (c.wants_output(1)) c.output(1).as<float>()[0] = scale;
  if (c.wants_output(2)) c.output(2).as<uint8_t>()[0] = static_cast<uint8_t>(zero);
  return {};
}

}  // namespace

void register_op_quantize_linear(OpRegistry& registry) {
  registry.add({.name = "quantize_linear",
                .inputs = {{"x"}, {"y_scale"}, {"y_zero_point", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<QuantizeLinearAttrs>(),
                .infer = infer_quantize,
                .reference = reference_quantize});
  registry.add({.name = "dequantize_linear",
                .inputs = {{"x"}, {"x_scale"}, {"x_zero_point", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<DequantizeLinearAttrs>(),
                .infer = infer_dequantize,
                .reference = reference_dequantize});
  registry.add({.name = "dynamic_quantize_linear",
                .inputs = {{"x"}},
                .outputs = {{"y"}, {"y_scale"}, {"y_zero_point"}},
                .infer = infer_dynamic_quantize,
                .reference = reference_dynamic_quantize});
}

}  // namespace redline
