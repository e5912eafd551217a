// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm.h"

#include <numeric>

#include "onnx/import_rule.h"
#include "ops/pointwise.h"

namespace redline {
namespace {

Status import_gemm(ImportContext& c) {
  // `broadcast` (before opset 7) only allowed what is always allowed now.
  return c.import_same("gemm", {{"transA", "trans_a"}, {"transB", "trans_b"}}, {"broadcast"});
}

Status import_matmul_integer(ImportContext& c) { return c.import_same("matmul_integer"); }

// The operand with its matrix (and, for batch, its leading axes) turned round.
Result<Value*> turned(ImportContext& c, Value* x, bool matrix, bool batch) {
  if (x == nullptr) return invalid_argument("an operand is missing");
  if (!matrix && !batch) return x;
  if (!x->shape().has_rank()) {
    return c.unsupported_here("transposed operand of unknown rank; nearest: Transpose and MatMul");
  }
  auto rank = static_cast<size_t>(x->shape().rank());
  if (rank < 2) return x;
  std::vector<int64_t> perm(rank);
  std::iota(perm.begin(), perm.end(), 0);
  // transBatch moves axis 0 to the second to last place.
  if (batch && rank > 2) std::rotate(perm.begin(), perm.begin() + 1, perm.end() - 1);
  if (matrix) std::swap(perm[rank - 1], perm[rank - 2]);
  const OpDef& transpose = c.graph().registry().get("transpose");
  REDLINE_ASSIGN(Attrs attrs, Attrs::load(transpose.attrs, {{"perm", perm}}));
  return c.emit("transpose", {x}, attrs);
}

// com.microsoft: alpha * matmul(a', b').
Status import_fused_matmul(ImportContext& c) {
  REDLINE_ASSIGN(Value * a,
                 turned(c, c.input(0), c.int_attr("transA") != 0, c.int_attr("transBatchA") != 0));
  REDLINE_ASSIGN(Value * b,
                 turned(c, c.input(1), c.int_attr("transB") != 0, c.int_attr("transBatchB") != 0));
  REDLINE_ASSIGN(Value * y, c.emit("matmul", {a, b}));
  float alpha = c.float_attr("alpha", 1);
  if (alpha != 1) {
    REDLINE_ASSIGN(y, c.emit("mul", {y, c.constant_scalar(y->dtype(), alpha)}));
  }
  c.set_output(0, y);
  return {};
}

// com.microsoft: gemm, then an activation.
Status import_fused_gemm(ImportContext& c) {
  REDLINE_ASSIGN(
      Attrs attrs,
      c.load_attrs(attrs_type<GemmAttrs>(), {{"transA", "trans_a"}, {"transB", "trans_b"}},
                   {"activation", "activation_alpha", "activation_beta", "activation_gamma"}));
  REDLINE_ASSIGN(Value * y, c.emit("gemm", {c.input(0), c.input(1), c.input(2)}, attrs));
  std::string activation = c.string_attr("activation");
  if (activation == "LeakyRelu") {
    LeakyReluAttrs leaky{c.float_attr("activation_alpha", 0.01f)};
    REDLINE_ASSIGN(y, c.emit("leaky_relu", {y}, leaky));
  } else if (activation == "Relu" || activation == "Sigmoid" || activation == "Tanh") {
    for (const PointwiseRow& row : pointwise_rows()) {
      if (row.onnx_name != activation) continue;
      REDLINE_ASSIGN(y, c.emit(row.name, {y}));
    }
  } else if (!activation.empty()) {
    return c.unsupported_here("activation '" + activation + "'; nearest: Relu");
  }
  c.set_output(0, y);
  return {};
}

}  // namespace

void register_import_gemm(ImportRegistry& registry) {
  registry.add("Gemm", import_gemm);
  registry.add("MatMulInteger", import_matmul_integer);
  registry.add({"com.microsoft", "FusedMatMul", import_fused_matmul});
  registry.add({"com.microsoft", "FusedGemm", import_fused_gemm});
}

}  // namespace redline
