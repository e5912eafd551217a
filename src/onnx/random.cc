// SPDX-License-Identifier: Apache-2.0
#include "ops/random.h"

#include "onnx/import_rule.h"
#include "ops/cast.h"
#include "ops/elements.h"

namespace redline {
namespace {

std::optional<DType> dtype_or_none(ImportContext& c) {
  if (!c.has_attr("dtype")) return std::nullopt;
  return c.dtype_attr("dtype", DType::kFloat32);
}

std::optional<float> seed_or_none(ImportContext& c) {
  if (!c.has_attr("seed")) return std::nullopt;
  return c.float_attr("seed");
}

std::optional<SymDims> shape_or_none(ImportContext& c) {
  if (!c.has_attr("shape")) return std::nullopt;
  std::vector<int64_t> sizes = c.ints_attr("shape");
  return SymDims(sizes.begin(), sizes.end());
}

Status import_normal(ImportContext& c) {
  RandomNormalAttrs attrs{.shape = shape_or_none(c),
                          .dtype = dtype_or_none(c),
                          .mean = c.float_attr("mean", 0),
                          .scale = c.float_attr("scale", 1),
                          .seed = seed_or_none(c)};
  REDLINE_ASSIGN(Value * value, c.emit("random_normal", c.inputs(), attrs));
  c.set_output(0, value);
  return {};
}

Status import_uniform(ImportContext& c) {
  RandomUniformAttrs attrs{.shape = shape_or_none(c),
                           .dtype = dtype_or_none(c),
                           .low = c.float_attr("low", 0),
                           .high = c.float_attr("high", 1),
                           .seed = seed_or_none(c)};
  REDLINE_ASSIGN(Value * value, c.emit("random_uniform", c.inputs(), attrs));
  c.set_output(0, value);
  return {};
}

Status import_bernoulli(ImportContext& c) {
  BernoulliAttrs attrs{dtype_or_none(c), seed_or_none(c)};
  REDLINE_ASSIGN(Value * value, c.emit("bernoulli", c.inputs(), attrs));
  c.set_output(0, value);
  return {};
}

Status import_multinomial(ImportContext& c) {
  MultinomialAttrs attrs{c.dtype_attr("dtype", DType::kInt32), c.int_attr("sample_size", 1),
                         seed_or_none(c)};
  REDLINE_ASSIGN(Value * value, c.emit("multinomial", c.inputs(), attrs));
  c.set_output(0, value);
  return {};
}

// False when the node surely does not train: then the data passes through.
bool may_train(const ImportContext& c) {
  const Value* mode = c.input(2);
  if (mode == nullptr) return false;
  if (!mode->is_constant()) return true;
  const Tensor& value = mode->constant;
  return value.dtype() != DType::kBool || value.count() != 1 || value.data<uint8_t>()[0] != 0;
}

Status import_dropout(ImportContext& c) {
  if (!may_train(c) && !c.wants_output(1)) {
    if (c.input(0) == nullptr) return invalid_argument("Dropout: input 'data' is missing");
    c.set_output(0, c.input(0));
    return {};
  }
  DropoutAttrs attrs;
  if (c.has_attr("seed")) attrs.seed = c.int_attr("seed");
  REDLINE_ASSIGN(Node * node,
                 c.emit_node("dropout", c.inputs(), Attrs::of(attrs), c.wants_output(1) ? 2 : 1));
  c.set_output(0, node->output(0));
  if (!c.wants_output(1)) return {};
  Value* mask = node->output(1);
  if (c.opset() < 10) {  // the mask had the data's type
    REDLINE_ASSIGN(mask, c.emit("cast", {mask}, CastAttrs{.to = c.input(0)->dtype()}));
  }
  c.set_output(1, mask);
  return {};
}

}  // namespace

void register_import_random(ImportRegistry& registry) {
  registry.add("RandomNormal", import_normal);
  registry.add("RandomNormalLike", import_normal);
  registry.add("RandomUniform", import_uniform);
  registry.add("RandomUniformLike", import_uniform);
  registry.add("Bernoulli", import_bernoulli);
  registry.add("Multinomial", import_multinomial);
  registry.add("Dropout", import_dropout);
}

}  // namespace redline
