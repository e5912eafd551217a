// SPDX-License-Identifier: Apache-2.0
#include "ops/recurrent.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

Status import_recurrent(ImportContext& c, std::string_view op) {
  const Value* r = c.input(2);
  if (c.has_attr("hidden_size") && r != nullptr && r->shape().has_rank() &&
      r->shape().rank() == 3 && r->shape()[2].is_const() &&
      r->shape()[2].value() != c.int_attr("hidden_size")) {
    return invalid_argument("hidden_size is ", c.int_attr("hidden_size"), ", R is ",
                            r->type.to_string());
  }
  return c.import_same(
      op, {{"layout", "batch_first"}, {"activation_alpha", "alphas"}, {"activation_beta", "betas"}},
      {"hidden_size", "output_sequence"});
}

}  // namespace

void register_import_recurrent(ImportRegistry& registry) {
  registry.add("RNN", [](ImportContext& c) { return import_recurrent(c, "rnn"); });
  registry.add("GRU", [](ImportContext& c) { return import_recurrent(c, "gru"); });
  registry.add("LSTM", [](ImportContext& c) { return import_recurrent(c, "lstm"); });
}

}  // namespace redline
