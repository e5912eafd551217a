// SPDX-License-Identifier: Apache-2.0
#include "ops/resize.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

// Null for an absent operand and for one without elements, which opset 11 allows to mean the same.
Value* unless_empty(Value* value) {
  if (value == nullptr || !value->shape().has_rank()) return value;
  return value->shape().count() == Dim(0) ? nullptr : value;
}

// Upsample, and Resize before opset 11: output o takes input o / scale.
Status import_scaled(ImportContext& c, Value* scales) {
  ResizeAttrs attrs{.coordinate_transformation_mode = ResizeCoordinates::kAsymmetric,
                    .nearest_mode = ResizeNearest::kFloor};
  std::string mode = c.string_attr("mode", "nearest");
  if (mode == "linear" || mode == "bilinear") {
    attrs.mode = ResizeMode::kLinear;
  } else if (mode != "nearest") {
    return c.unsupported_here("mode '" + mode + "'; nearest: linear");
  }
  REDLINE_ASSIGN(Value * y, c.emit("resize", {c.input(0), nullptr, scales}, attrs));
  c.set_output(0, y);
  return {};
}

Status import_resize(ImportContext& c) {
  if (c.opset() < 11) return import_scaled(c, c.input(1));
  REDLINE_ASSIGN(Attrs attrs, c.load_attrs(attrs_type<ResizeAttrs>()));
  REDLINE_ASSIGN(Value * y, c.emit("resize",
                                   {c.input(0), unless_empty(c.input(1)), unless_empty(c.input(2)),
                                    unless_empty(c.input(3))},
                                   attrs));
  c.set_output(0, y);
  return {};
}

Status import_upsample(ImportContext& c) {
  if (c.opset() >= 9) return import_scaled(c, c.input(1));
  std::vector<float> scales = c.floats_attr("scales");
  Dims dims = {static_cast<int64_t>(scales.size())};
  return import_scaled(
      c, c.constant(Tensor::from<float>(DType::kFloat32, dims, std::span<const float>(scales))));
}

}  // namespace

void register_import_resize(ImportRegistry& registry) {
  registry.add("Resize", import_resize);
  registry.add("Upsample", import_upsample);
}

}  // namespace redline
