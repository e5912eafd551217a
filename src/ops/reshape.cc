// SPDX-License-Identifier: Apache-2.0
#include "ops/reshape.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "ops/op.h"

namespace redline {
namespace {

Status infer_reshape(InferContext& c) {
  const auto& attrs = c.attrs<ReshapeAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& in = c.shape(0);
  if (std::optional<SymDims> contents = c.contents(0)) c.set_contents(0, *contents);
  if (attrs.sizes) {
    c.set_output(0, c.dtype(0), *attrs.sizes);
    return {};
  }
  REDLINE_TRY(c.expect_rank(1, 1));
  std::optional<SymDims> target = c.contents(1);
  if (!target) {
    // Only the rank may be known: the number of elements of `shape`.
    const Shape& shape = c.shape(1);
    std::optional<int64_t> rank = shape.has_rank() ? shape[0].as_const() : std::nullopt;
    if (!rank) {
      c.set_output(0, c.dtype(0), Shape());
      return {};
    }
    if (*rank > kMaxRank) return c.input_error(1, str_cat("asks for a rank over ", kMaxRank));
    SymDims dims;
    for (int64_t i = 0; i < *rank; ++i) dims.push_back(c.fresh_symbol("reshape"));
    c.set_output(0, c.dtype(0), std::move(dims));
    return {};
  }
  if (target->size() > kMaxRank)
    return c.input_error(1, str_cat("asks for a rank over ", kMaxRank));
  SymDims dims;
  int rest = -1;
  Dim known(1);
  for (size_t i = 0; i < target->size(); ++i) {
    const Dim& dim = (*target)[i];
    if (dim == Dim(-1)) {
      if (rest >= 0) return c.input_error(1, "holds -1 more than once");
      rest = static_cast<int>(i);
      dims.emplace_back(1);
      continue;
    }
    if (dim.is_const() && dim.value() < 0) {
      return c.input_error(1, str_cat("holds the size ", dim.value()));
    }
    if (dim == Dim(0) && !attrs.allow_zero) {
      if (!in.has_rank()) {
        dims.push_back(c.fresh_symbol("reshape"));
      } else if (static_cast<int>(i) >= in.rank()) {
        return c.input_error(1, str_cat("copies axis ", i, ", which the data lacks"));
      } else {
        dims.push_back(in[static_cast<int>(i)]);
      }
    } else {
      dims.push_back(dim);
    }
    known = known * dims.back();
  }
  std::optional<Dim> total = in.count();
  if (rest >= 0 && attrs.allow_zero && std::find(dims.begin(), dims.end(), Dim(0)) != dims.end()) {
    return c.input_error(1, "holds both 0 and -1, which allow_zero forbids");
  }
  if (rest >= 0) {
    auto at = static_cast<size_t>(rest);
    if (!total) {
      dims[at] = c.fresh_symbol("reshape");
    } else if (known == Dim(0)) {
      dims[at] = Dim(0);
    } else {
      if (known.is_const() && total->is_const() && total->value() % known.value() != 0) {
        return c.input_error(1, str_cat("does not divide the ", total->value(), " elements"));
      }
      dims[at] = floor_div(*total, known);
    }
  } else if (total && total->is_const() && known.is_const() && *total != known) {
    return c.input_error(
        1, str_cat("asks for ", known.value(), " elements, the data has ", total->value()));
  }
  c.set_output(0, c.dtype(0), std::move(dims));
  return {};
}

Status reference_reshape(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  if (in.count() != out.count()) {
    return invalid_argument("cannot give ", in.dims.to_string(), " the sizes ",
                            out.dims.to_string());
  }
  if (in.dtype == DType::kString) {
    std::copy_n(in.as<std::string>(), in.count(), out.as<std::string>());
  } else if (in.bytes() > 0) {
    std::memcpy(out.data, in.data, in.bytes());
  }
  return {};
}

}  // namespace

void register_op_reshape(OpRegistry& registry) {
  registry.add({.name = "reshape",
                .inputs = {{"data"}, {"shape", Arity::kOptional}},
                .outputs = {{"reshaped"}},
                .attrs = attrs_type<ReshapeAttrs>(),
                .traits = kTraitMovement | kTraitView,
                .infer = infer_reshape,
                .reference = reference_reshape});
}

}  // namespace redline
