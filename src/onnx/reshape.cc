// SPDX-License-Identifier: Apache-2.0
#include "ops/reshape.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

Status import_reshape(ImportContext& c) {
  return c.import_same("reshape", {{"allowzero", "allow_zero"}});
}

Status import_shape(ImportContext& c) { return c.import_same("shape"); }

Status import_matmul(ImportContext& c) { return c.import_same("matmul"); }

}  // namespace

void register_import_reshape(ImportRegistry& registry) {
  registry.add("Reshape", import_reshape);
  registry.add("Shape", import_shape);
  registry.add("MatMul", import_matmul);
}

}  // namespace redline
