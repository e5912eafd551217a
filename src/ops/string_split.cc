// SPDX-License-Identifier: Apache-2.0
#include "ops/string_split.h"

#include <algorithm>
#include <limits>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

constexpr std::string_view kSpace = " \t\n\v\f\r";

Status infer_string_split(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (c.dtype(0) != DType::kString) return c.input_error(0, "must hold strings");
  c.set_output(0, DType::kString, Shape());
  c.set_output(1, DType::kInt64, c.shape(0));
  if (!c.shape(0).has_rank()) return {};
  if (c.shape(0).rank() >= kMaxRank) {
    return c.input_error(0, str_cat("must have a rank below ", kMaxRank));
  }
  SymDims dims = c.shape(0).dims();
  dims.push_back(c.fresh_symbol("pieces"));
  c.set_output(0, DType::kString, std::move(dims));
  return {};
}

std::vector<std::string_view> split_at_space(std::string_view text, int64_t max_splits) {
  std::vector<std::string_view> pieces;
  auto skip_space = [&] {
    text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  };
  for (skip_space(); !text.empty(); skip_space()) {
    size_t end = std::min(text.find_first_of(kSpace), text.size());
    if (static_cast<int64_t>(pieces.size()) == max_splits) end = text.size();
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return pieces;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view delimiter,
                                       int64_t max_splits) {
  std::vector<std::string_view> pieces;
  while (static_cast<int64_t>(pieces.size()) < max_splits) {
    size_t end = text.find(delimiter);
    if (end == std::string_view::npos) break;
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end + delimiter.size());
  }
  pieces.push_back(text);
  return pieces;
}

Status reference_string_split(ReferenceContext& c) {
  const auto& attrs = c.attrs<StringSplitAttrs>();
  int64_t max_splits = attrs.maxsplit.value_or(-1);
  if (max_splits < 0) max_splits = std::numeric_limits<int64_t>::max();
  const TensorView& in = c.input(0);
  std::vector<std::vector<std::string_view>> pieces;
  size_t most = 0;
  for (const std::string& text : in.span<const std::string>()) {
    pieces.push_back(attrs.delimiter.empty() ? split_at_space(text, max_splits)
                                             : split_at(text, attrs.delimiter, max_splits));
    most = std::max(most, pieces.back().size());
  }
  Dims dims = in.dims;
  dims.push_back(static_cast<int64_t>(most));
  REDLINE_ASSIGN(TensorView out, output_of_size(c, 0, DType::kString, dims));
  auto* dst = out.as<std::string>();
  for (const auto& row : pieces) {
    for (size_t i = 0; i < most; ++i) *dst++ = i < row.size() ? row[i] : std::string_view();
  }
  if (!c.wants_output(1)) return {};
  auto* counts = c.output(1).as<int64_t>();
  for (const auto& row : pieces) *counts++ = static_cast<int64_t>(row.size());
  return {};
}

}  // namespace

void register_op_string_split(OpRegistry& registry) {
  registry.add({.name = "string_split",
                .inputs = {{"x"}},
                .outputs = {{"pieces"}, {"counts", Arity::kOptional}},
                .attrs = attrs_type<StringSplitAttrs>(),
                .traits = kTraitDataDependent,
                .infer = infer_string_split,
                .reference = reference_string_split});
}

}  // namespace redline
