// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "ops/body.h"
#include "ops/op.h"

namespace redline {

// One member of each kind that attributes can have.
struct EveryAttr {
  int64_t whole = 0;
  float real = 0;
  std::string text;
  std::vector<int64_t> wholes;
  std::vector<float> reals;
  std::vector<std::string> texts;
  std::optional<SymDims> sizes;
  DType dtype = DType::kFloat32;
  Tensor tensor;
  std::shared_ptr<const Body> body;
  template <class V>
  void fields(V& v) {
    v("whole", whole);
    v("real", real);
    v("text", text);
    v("wholes", wholes);
    v("reals", reals);
    v("texts", texts);
    v("sizes", sizes);
    v("dtype", dtype);
    v("tensor", tensor);
    v("body", body);
  }
};

// The engine's ops and some that exist for tests only: `every_attr` has each kind of attribute and
// gives its input; `choose` runs one of two subgraphs; `count_true` has a size that only values
// tell; `fan` has two outputs, one of which may be left out.
inline std::unique_ptr<OpRegistry> make_test_registry() {
  auto registry = make_op_registry();
  registry->add({.name = "every_attr",
                 .inputs = {{"x"}, {"extra", Arity::kOptional}},
                 .outputs = {{"y"}},
                 .attrs = attrs_type<EveryAttr>(),
                 .infer = [](InferContext& c) -> Status {
                   c.set_output(0, c.type(0));
                   return {};
                 },
                 .reference = [](ReferenceContext& c) -> Status {
                   return c.set_output_value(0, c.input_value(0));
                 }});
  registry->add({.name = "choose",
                 .inputs = {{"condition"}},
                 .outputs = {{"y", Arity::kVariadic}},
                 .num_subgraphs = 2,
                 .infer = [](InferContext& c) -> Status {
                   REDLINE_ASSIGN(std::vector<Type> first, c.infer_subgraph(0, {}));
                   REDLINE_ASSIGN(std::vector<Type> second, c.infer_subgraph(1, {}));
                   if (first.size() != c.num_outputs() || second.size() != c.num_outputs()) {
                     return c.error("the subgraphs do not have as many outputs");
                   }
                   for (size_t i = 0; i < first.size(); ++i) {
                     if (first[i].dtype != second[i].dtype)
                       return c.error("the subgraphs differ in type");
                     c.set_output(i,
                                  first[i] == second[i] ? first[i] : Type::tensor(first[i].dtype));
                   }
                   return {};
                 },
                 .reference = [](ReferenceContext& c) -> Status {
                   size_t taken = *c.input(0).as<uint8_t>() != 0 ? 0 : 1;
                   REDLINE_ASSIGN(std::vector<HostValue> results, c.run_subgraph(taken, {}));
                   for (size_t i = 0; i < results.size(); ++i) {
                     REDLINE_TRY(c.set_output_value(i, std::move(results[i])));
                   }
                   return {};
                 }});
  registry->add({.name = "count_true",
                 .inputs = {{"x"}},
                 .outputs = {{"y"}},
                 .traits = kTraitDataDependent,
                 .infer = [](InferContext& c) -> Status {
                   c.set_output(0, DType::kInt64, SymDims{c.fresh_symbol("count")});
                   return {};
                 },
                 .reference = [](ReferenceContext& c) -> Status {
                   int64_t count = 0;
                   for (uint8_t v : c.input(0).span<uint8_t>()) count += v;
                   return c.allocate_output(0, DType::kInt64, {count}).status();
                 }});
  registry->add({.name = "fan",
                 .inputs = {{"x"}},
                 .outputs = {{"y"}, {"z", Arity::kOptional}},
                 .infer = [](InferContext& c) -> Status {
                   for (size_t i = 0; i < c.num_outputs(); ++i) c.set_output(i, c.type(0));
                   return {};
                 },
                 .reference = [](ReferenceContext& c) -> Status {
                   for (size_t i = 0; i < c.num_outputs(); ++i) {
                     REDLINE_TRY(c.set_output_value(i, c.input_value(0)));
                   }
                   return {};
                 }});
  return registry;
}

}  // namespace redline
