// SPDX-License-Identifier: Apache-2.0
#include "ops/cast.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

Result<CastAttrs> read_attrs(ImportContext& c, DType to) {
  CastAttrs attrs{.to = to, .saturate = c.int_attr("saturate", 1) != 0};
  std::string mode = c.string_attr("round_mode", "up");
  for (ScaleRound round : {ScaleRound::kUp, ScaleRound::kDown, ScaleRound::kNearest}) {
    attrs.round_mode = round;
    if (enum_names(round)[static_cast<size_t>(round)] == mode) return attrs;
  }
  return invalid_argument("round_mode '", mode, "' is not up, down or nearest");
}

Status import_cast(ImportContext& c) {
  REDLINE_ASSIGN(CastAttrs attrs, read_attrs(c, c.dtype_attr("to", DType::kFloat32)));
  REDLINE_ASSIGN(Value * value, c.emit("cast", {c.input(0)}, attrs));
  c.set_output(0, value);
  return {};
}

Status import_cast_like(ImportContext& c) {
  if (c.input(1) == nullptr) return invalid_argument("CastLike: input 'target_type' is missing");
  REDLINE_ASSIGN(CastAttrs attrs, read_attrs(c, c.input(1)->dtype()));
  REDLINE_ASSIGN(Value * value, c.emit("cast", {c.input(0)}, attrs));
  c.set_output(0, value);
  return {};
}

Status import_bit_cast(ImportContext& c) {
  BitCastAttrs attrs{c.dtype_attr("to", DType::kFloat32)};
  REDLINE_ASSIGN(Value * value, c.emit("bit_cast", {c.input(0)}, attrs));
  c.set_output(0, value);
  return {};
}

}  // namespace

void register_import_cast(ImportRegistry& registry) {
  registry.add("Cast", import_cast);
  registry.add("CastLike", import_cast_like);
  registry.add("BitCast", import_bit_cast);
}

}  // namespace redline
