// SPDX-License-Identifier: Apache-2.0
#include "onnx/import_rule.h"
#include "ops/eye_like.h"
#include "ops/pad.h"
#include "ops/split.h"
#include "ops/transpose.h"

namespace redline {
namespace {

Status import_transpose(ImportContext& c) {
  TransposeAttrs attrs{c.ints_attr("perm")};
  Value* data = c.input(0);
  if (!c.has_attr("perm") && data != nullptr && data->shape().has_rank()) {
    for (int axis = data->shape().rank() - 1; axis >= 0; --axis) attrs.perm.push_back(axis);
  }
  REDLINE_ASSIGN(Value * out, c.emit("transpose", {data}, std::move(attrs)));
  c.set_output(0, out);
  return {};
}

Status import_split(ImportContext& c) {
  SplitAttrs attrs{.axis = c.int_attr("axis", 0)};
  if (c.has_attr("num_outputs")) attrs.num_outputs = c.int_attr("num_outputs");
  Value* sizes = c.input(1);
  if (c.opset() < 13 && c.has_attr("split")) sizes = c.constant_ints(c.ints_attr("split"));
  std::vector<Value*> operands = {c.input(0)};
  if (sizes != nullptr) operands.push_back(sizes);
  REDLINE_ASSIGN(Node * node,
                 c.emit_node("split", std::move(operands), Attrs::of(attrs), c.num_outputs()));
  c.set_outputs(node);
  return {};
}

// Before opset 10 the bounds are attributes.
Status import_slice(ImportContext& c) {
  if (c.opset() >= 10) return c.import_same("slice");
  std::vector<Value*> operands = {c.input(0), c.constant_ints(c.ints_attr("starts")),
                                  c.constant_ints(c.ints_attr("ends"))};
  if (c.has_attr("axes")) operands.push_back(c.constant_ints(c.ints_attr("axes")));
  REDLINE_ASSIGN(Value * out, c.emit("slice", std::move(operands)));
  c.set_output(0, out);
  return {};
}

// Before opset 11 pads and value are attributes.
Status import_pad(ImportContext& c) {
  if (c.opset() >= 11) return c.import_same("pad");
  REDLINE_ASSIGN(Attrs attrs, c.load_attrs(attrs_type<PadAttrs>(), {}, {"pads", "value"}));
  if (c.input(0) == nullptr) return c.unsupported_here("the data is missing");
  Value* fill = c.constant_scalar(c.input(0)->dtype(), c.float_attr("value", 0));
  REDLINE_ASSIGN(
      Value * out,
      c.emit("pad", {c.input(0), c.constant_ints(c.ints_attr("pads")), fill}, std::move(attrs)));
  c.set_output(0, out);
  return {};
}

Status import_eye_like(ImportContext& c) {
  EyeLikeAttrs attrs{.k = c.int_attr("k", 0)};
  if (c.has_attr("dtype")) attrs.dtype = c.dtype_attr("dtype", DType::kFloat32);
  REDLINE_ASSIGN(Value * out, c.emit("eye_like", {c.input(0)}, attrs));
  c.set_output(0, out);
  return {};
}

// Scatter is the old name of ScatterElements; Range's stash_type asks for less precision than the
// op has.
Status import_scatter(ImportContext& c) { return c.import_same("scatter_elements"); }
Status import_range(ImportContext& c) { return c.import_same("range", {}, {"stash_type"}); }

Status import_concat(ImportContext& c) {
  if (!c.has_attr("axis")) return invalid_argument("Concat: attribute 'axis' is missing");
  return c.import_same("concat");
}

}  // namespace

void register_import_movement(ImportRegistry& registry) {
  registry.add("Transpose", import_transpose);
  registry.add("Split", import_split);
  registry.add("Slice", import_slice);
  registry.add("Pad", import_pad);
  registry.add("EyeLike", import_eye_like);
  registry.add("Scatter", import_scatter);
  registry.add("Range", import_range);
  registry.add("Concat", import_concat);
  registry.add("Gather", [](ImportContext& c) { return c.import_same("gather"); });
  registry.add("GatherElements", [](ImportContext& c) { return c.import_same("gather_elements"); });
  registry.add("GatherND", [](ImportContext& c) { return c.import_same("gather_nd"); });
  registry.add("ScatterElements",
               [](ImportContext& c) { return c.import_same("scatter_elements"); });
  registry.add("ScatterND", [](ImportContext& c) { return c.import_same("scatter_nd"); });
  registry.add("Tile", [](ImportContext& c) { return c.import_same("tile"); });
  registry.add("Expand", [](ImportContext& c) { return c.import_same("expand"); });
  registry.add("Size", [](ImportContext& c) { return c.import_same("size"); });
  registry.add("DepthToSpace", [](ImportContext& c) { return c.import_same("depth_to_space"); });
  registry.add("SpaceToDepth", [](ImportContext& c) { return c.import_same("space_to_depth"); });
  registry.add("ReverseSequence",
               [](ImportContext& c) { return c.import_same("reverse_sequence"); });
  registry.add("Trilu", [](ImportContext& c) { return c.import_same("trilu"); });
  registry.add("OneHot", [](ImportContext& c) { return c.import_same("one_hot"); });
  registry.add("Compress", [](ImportContext& c) { return c.import_same("compress"); });
  registry.add("NonZero", [](ImportContext& c) { return c.import_same("nonzero"); });
  registry.add("Unique", [](ImportContext& c) { return c.import_same("unique"); });
  registry.add("CenterCropPad", [](ImportContext& c) { return c.import_same("center_crop_pad"); });
  registry.add("Col2Im", [](ImportContext& c) { return c.import_same("col2im"); });
  registry.add("ConstantOfShape",
               [](ImportContext& c) { return c.import_same("constant_of_shape"); });
  registry.add("TensorScatter", [](ImportContext& c) { return c.import_same("tensor_scatter"); });
}

}  // namespace redline
