// SPDX-License-Identifier: Apache-2.0
#include "ops/regex_full_match.h"

#include "ops/op.h"
#include "ops/regex.h"

namespace redline {
namespace {

Status infer_regex_full_match(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (c.dtype(0) != DType::kString) return c.input_error(0, "must hold strings");
  REDLINE_TRY(Regex::compile(c.attrs<RegexFullMatchAttrs>().pattern).status());
  c.set_output(0, DType::kBool, c.shape(0));
  return {};
}

Status reference_regex_full_match(ReferenceContext& c) {
  REDLINE_ASSIGN(Regex regex, Regex::compile(c.attrs<RegexFullMatchAttrs>().pattern));
  const TensorView& in = c.input(0);
  auto* out = c.output(0).as<uint8_t>();
  for (const std::string& text : in.span<const std::string>()) *out++ = regex.full_match(text);
  return {};
}

}  // namespace

void register_op_regex_full_match(OpRegistry& registry) {
  registry.add({.name = "regex_full_match",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<RegexFullMatchAttrs>(),
                .traits = kTraitPointwise,
                .infer = infer_regex_full_match,
                .reference = reference_regex_full_match});
}

}  // namespace redline
