// SPDX-License-Identifier: Apache-2.0
#include "ops/sample.h"

#include "onnx/import_rule.h"
#include "ops/roi.h"

namespace redline {
namespace {

// Opset 16 said bilinear and bicubic.
Status import_grid_sample(ImportContext& c) {
  std::string mode = c.string_attr("mode", "linear");
  REDLINE_ASSIGN(Attrs loaded, c.load_attrs(attrs_type<GridSampleAttrs>(), {}, {"mode"}));
  GridSampleAttrs attrs = loaded.as<GridSampleAttrs>();
  if (mode == "linear" || mode == "bilinear") {
    attrs.mode = SampleMode::kLinear;
  } else if (mode == "cubic" || mode == "bicubic") {
    attrs.mode = SampleMode::kCubic;
  } else if (mode == "nearest") {
    attrs.mode = SampleMode::kNearest;
  } else {
    return c.unsupported_here("mode '" + mode + "'; nearest: linear");
  }
  REDLINE_ASSIGN(Value * y, c.emit("grid_sample", {c.input(0), c.input(1)}, attrs));
  c.set_output(0, y);
  return {};
}

// Before opset 16 there was no shift by half a pixel.
Status import_roi_align(ImportContext& c) {
  REDLINE_ASSIGN(Attrs loaded, c.load_attrs(attrs_type<RoiAlignAttrs>()));
  RoiAlignAttrs attrs = loaded.as<RoiAlignAttrs>();
  if (c.opset() < 16) attrs.coordinate_transformation_mode = RoiCoordinates::kOutputHalfPixel;
  REDLINE_ASSIGN(Value * y, c.emit("roi_align", c.inputs(), attrs));
  c.set_output(0, y);
  return {};
}

}  // namespace

void register_import_sample(ImportRegistry& registry) {
  registry.add("GridSample", import_grid_sample);
  registry.add("AffineGrid", [](ImportContext& c) { return c.import_same("affine_grid"); });
  registry.add("RoiAlign", import_roi_align);
  registry.add("MaxRoiPool", [](ImportContext& c) { return c.import_same("max_roi_pool"); });
  registry.add("NonMaxSuppression",
               [](ImportContext& c) { return c.import_same("non_max_suppression"); });
}

}  // namespace redline
