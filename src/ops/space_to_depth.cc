// SPDX-License-Identifier: Apache-2.0
#include "ops/space_to_depth.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status check_blocks(const InferContext& c) {
  REDLINE_TRY(c.expect_rank(0, 4));
  int64_t block = c.attrs<SpaceToDepthAttrs>().blocksize;
  if (block < 1 || block > INT32_MAX) {
    return c.error(str_cat("blocksize is ", block, ", expected 1 or more"));
  }
  return {};
}

Status check_divides(const InferContext& c, int axis, int64_t divisor) {
  std::optional<int64_t> size = c.shape(0)[axis].as_const();
  if (!size || *size % divisor == 0) return {};
  return c.input_error(0, str_cat("must have a size divisible by ", divisor, " at axis ", axis));
}

Status infer_space_to_depth(InferContext& c) {
  REDLINE_TRY(check_blocks(c));
  const Shape& in = c.shape(0);
  if (!in.has_rank()) {
    c.set_output(0, c.dtype(0), fresh_dims(c, 4, "depth"));
    return {};
  }
  int64_t block = c.attrs<SpaceToDepthAttrs>().blocksize;
  REDLINE_TRY(check_divides(c, 2, block));
  REDLINE_TRY(check_divides(c, 3, block));
  c.set_output(
      0, c.dtype(0),
      SymDims{in[0], in[1] * block * block, floor_div(in[2], block), floor_div(in[3], block)});
  return {};
}

Status infer_depth_to_space(InferContext& c) {
  REDLINE_TRY(check_blocks(c));
  const Shape& in = c.shape(0);
  if (!in.has_rank()) {
    c.set_output(0, c.dtype(0), fresh_dims(c, 4, "space"));
    return {};
  }
  int64_t block = c.attrs<SpaceToDepthAttrs>().blocksize;
  REDLINE_TRY(check_divides(c, 1, block * block));
  c.set_output(0, c.dtype(0),
               SymDims{in[0], floor_div(in[1], block * block), in[2] * block, in[3] * block});
  return {};
}

Dims ordered(const Dims& dims, std::initializer_list<size_t> order) {
  Dims result;
  for (size_t axis : order) result.push_back(dims[axis]);
  return result;
}

Status reference_space_to_depth(ReferenceContext& c) {
  const auto& attrs = c.attrs<SpaceToDepthAttrs>();
  const Dims& in = c.input(0).dims;
  int64_t b = attrs.blocksize;
  // (n, c, h, bh, w, bw)
  Dims split = {in[0], in[1], in[2] / b, b, in[3] / b, b};
  Dims strides = split.strides();
  bool dcr = attrs.mode == DepthOrder::kDcr;
  copy_strided(c.input(0), 0,
               dcr ? ordered(strides, {0, 3, 5, 1, 2, 4}) : ordered(strides, {0, 1, 3, 5, 2, 4}),
               dcr ? ordered(split, {0, 3, 5, 1, 2, 4}) : ordered(split, {0, 1, 3, 5, 2, 4}),
               c.output(0));
  return {};
}

Status reference_depth_to_space(ReferenceContext& c) {
  const auto& attrs = c.attrs<SpaceToDepthAttrs>();
  const Dims& in = c.input(0).dims;
  int64_t b = attrs.blocksize;
  int64_t channels = in[1] / (b * b);
  bool dcr = attrs.mode == DepthOrder::kDcr;
  // (n, bh, bw, c, h, w) or (n, c, bh, bw, h, w)
  Dims split =
      dcr ? Dims{in[0], b, b, channels, in[2], in[3]} : Dims{in[0], channels, b, b, in[2], in[3]};
  Dims strides = split.strides();
  copy_strided(c.input(0), 0,
               dcr ? ordered(strides, {0, 3, 4, 1, 5, 2}) : ordered(strides, {0, 1, 4, 2, 5, 3}),
               dcr ? ordered(split, {0, 3, 4, 1, 5, 2}) : ordered(split, {0, 1, 4, 2, 5, 3}),
               c.output(0));
  return {};
}

}  // namespace

void register_op_space_to_depth(OpRegistry& registry) {
  OpDef def{.name = "space_to_depth",
            .inputs = {{"data"}},
            .outputs = {{"depth"}},
            .attrs = attrs_type<SpaceToDepthAttrs>(),
            .traits = kTraitMovement,
            .infer = infer_space_to_depth,
            .reference = reference_space_to_depth};
  registry.add(def);
  def.name = "depth_to_space";
  def.outputs = {{"space"}};
  def.infer = infer_depth_to_space;
  def.reference = reference_depth_to_space;
  registry.add(std::move(def));
}

}  // namespace redline
