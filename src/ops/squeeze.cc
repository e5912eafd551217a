// SPDX-License-Identifier: Apache-2.0
#include "ops/squeeze.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// squeeze(data, axes?): drops the named axes of size 1, or all of them.
// unsqueeze(data, axes): adds axes of size 1; they count in the result.
// The importer writes a reshape instead where the sizes are known.

void keep_contents(InferContext& c) {
  if (std::optional<SymDims> contents = c.contents(0)) c.set_contents(0, std::move(*contents));
}

// The elements of a tensor whose sizes change and whose order does not.
Status copy_elements(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  REDLINE_ASSERT(in.count() == c.output(0).count());
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    std::copy_n(in.as<const T>(), in.count(), c.output(0).as<T>());
  });
  return {};
}

Status infer_squeeze(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& in = c.shape(0);
  c.set_output(0, c.dtype(0), Shape());
  keep_contents(c);
  if (c.has_input(1)) REDLINE_TRY(c.expect_rank(1, 1));
  if (!in.has_rank()) return {};
  std::vector<bool> drop(static_cast<size_t>(in.rank()));
  if (c.has_input(1)) {
    std::optional<std::vector<int64_t>> axes = c.const_ints(1);
    if (!axes) {
      std::optional<int64_t> count = const_length(c, 1);
      if (count && *count <= in.rank()) {
        c.set_output(0, c.dtype(0), fresh_dims(c, in.rank() - *count, "squeeze"));
      }
      return {};
    }
    REDLINE_ASSIGN(std::vector<int> at, normalize_axes(c, *axes, in.rank()));
    for (int axis : at) {
      if (conflict(in[axis], Dim(1))) {
        return c.input_error(0, str_cat("must have size 1 at axis ", axis));
      }
      drop[static_cast<size_t>(axis)] = true;
    }
  } else {
    for (int d = 0; d < in.rank(); ++d) {
      // A symbolic size may turn out to be 1: then the rank is open.
      if (in[d] != Dim(1) && !is_never_one(in[d])) return {};
      drop[static_cast<size_t>(d)] = in[d] == Dim(1);
    }
  }
  SymDims out;
  for (int d = 0; d < in.rank(); ++d) {
    if (!drop[static_cast<size_t>(d)]) out.push_back(in[d]);
  }
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status infer_unsqueeze(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (c.shape(1).has_rank() && c.shape(1).rank() > 1) {
    return c.input_error(1, "must have rank 0 or 1");
  }
  const Shape& in = c.shape(0);
  c.set_output(0, c.dtype(0), Shape());
  keep_contents(c);
  std::optional<std::vector<int64_t>> axes = c.const_ints(1);
  std::optional<int64_t> count = const_length(c, 1);
  if (axes) count = static_cast<int64_t>(axes->size());
  if (!in.has_rank() || !count) return {};
  REDLINE_TRY(check_output_rank(c, in.rank() + *count));
  int rank = in.rank() + static_cast<int>(*count);
  if (!axes) {
    c.set_output(0, c.dtype(0), fresh_dims(c, rank, "unsqueeze"));
    return {};
  }
  REDLINE_ASSIGN(std::vector<int> at, normalize_axes(c, *axes, rank));
  std::vector<bool> added(static_cast<size_t>(rank));
  for (int axis : at) added[static_cast<size_t>(axis)] = true;
  SymDims out;
  int next = 0;
  for (bool is_new : added) out.push_back(is_new ? Dim(1) : in[next++]);
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status infer_flatten(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& in = c.shape(0);
  keep_contents(c);
  if (!in.has_rank()) {
    c.set_output(0, c.dtype(0), fresh_dims(c, 2, "flatten"));
    return {};
  }
  int64_t axis = c.attrs<FlattenAttrs>().axis;
  if (axis < -in.rank() || axis > in.rank()) {
    return c.error(str_cat("axis ", axis, " is out of range for rank ", in.rank()));
  }
  if (axis < 0) axis += in.rank();
  SymDims out = {Dim(1), Dim(1)};
  for (int d = 0; d < in.rank(); ++d) out[d < axis ? 0 : 1] *= in[d];
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

}  // namespace

void register_op_squeeze(OpRegistry& registry) {
  OpDef def{.name = "squeeze",
            .inputs = {{"data"}, {"axes", Arity::kOptional}},
            .outputs = {{"squeezed"}},
            .traits = kTraitMovement | kTraitView,
            .infer = infer_squeeze,
            .reference = copy_elements};
  registry.add(def);
  def.name = "unsqueeze";
  def.inputs = {{"data"}, {"axes"}};
  def.outputs = {{"expanded"}};
  def.infer = infer_unsqueeze;
  registry.add(def);
  def.name = "flatten";
  def.inputs = {{"data"}};
  def.outputs = {{"matrix"}};
  def.attrs = attrs_type<FlattenAttrs>();
  def.infer = infer_flatten;
  registry.add(std::move(def));
}

}  // namespace redline
