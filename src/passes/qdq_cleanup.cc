// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "ir/rewrite.h"
#include "ops/compare.h"
#include "ops/elements.h"
#include "ops/quantize_linear.h"
#include "passes/pass.h"

namespace redline {
namespace {

// Ops that put elements of input 0 elsewhere and need nothing else of them.
constexpr std::array<std::string_view, 10> kMoves = {
    "reshape", "transpose", "squeeze", "unsqueeze",      "flatten",
    "slice",   "expand",    "gather",  "space_to_depth", "depth_to_space"};

bool is_move(const Node* node) {
  return node->num_outputs() == 1 &&
         std::find(kMoves.begin(), kMoves.end(), node->op().name) != kMoves.end();
}

bool same_constant(const Value* a, const Value* b) {
  if (a == nullptr || b == nullptr) return a == b;
  if (a == b) return true;
  return a->is_constant() && b->is_constant() && a->dtype() == b->dtype() &&
         a->constant.count() == b->constant.count() && a->constant.count() == 1 &&
         identical(a->constant.reshaped({1}), b->constant.reshaped({1}));
}

// With f32 arithmetic and n of at most 16 bits, n * s / s is off n by less than 2^16 * 2^-23, so it
// rounds back to n, as long as n * s neither overflows nor loses bits to a tiny scale.
bool scale_is_exact(const Value* scale) {
  if (!scale->is_constant() || scale->dtype() != DType::kFloat32) return false;
  std::vector<double> numbers = read_elements<double>(scale->constant.view());
  return std::all_of(numbers.begin(), numbers.end(), [](double s) {
    return std::isfinite(s) && std::abs(s) > 1e-30 && std::abs(s) < 1e30;
  });
}

// quantize(dequantize(q)) is q when both have the same parameters. `moved`: something stands
// between, so that an axis of theirs would be another.
bool undoes(const Node* quantize, const Node* dequantize, bool moved) {
  const auto& to = quantize->attrs<QuantizeLinearAttrs>();
  const auto& from = dequantize->attrs<DequantizeLinearAttrs>();
  DType dtype = dequantize->input(0)->dtype();
  if (!is_int(dtype) || dtype_bits(dtype) > 16 || quantize->output()->dtype() != dtype) {
    return false;
  }
  if (to.precision && *to.precision != DType::kFloat32) return false;
  if (dequantize->output()->dtype() != DType::kFloat32) return false;
  if (!same_constant(quantize->input(1), dequantize->input(1)) ||
      !same_constant(quantize->input(2), dequantize->input(2)) ||
      !scale_is_exact(quantize->input(1))) {
    return false;
  }
  if (quantize->input(1)->constant.count() == 1 && to.block_size == 0 && from.block_size == 0) {
    return true;
  }
  return !moved && to.axis == from.axis && to.block_size == from.block_size;
}

// quantize(move(... dequantize(q))) = move(... q)
Result<bool> cancel(Node* quantize) {
  std::vector<Node*> moves;
  Value* x = quantize->input(0);
  while (x->producer != nullptr && is_move(x->producer)) {
    moves.push_back(x->producer);
    x = x->producer->input(0);
  }
  Node* dequantize = producer(x, "dequantize_linear");
  if (dequantize == nullptr || !undoes(quantize, dequantize, !moves.empty())) return false;
  Value* result = dequantize->input(0);
  for (size_t i = moves.size(); i-- > 0;) {
    std::vector<Value*> inputs = moves[i]->inputs();
    inputs[0] = result;
    REDLINE_ASSIGN(result, insert(quantize, moves[i]->op().name, inputs, moves[i]->attrs()));
  }
  replace(quantize, result);
  return true;
}

// quantize(concat(dequantize(q), ...)) = concat(q, ...)
Result<bool> cancel_concat(Node* quantize) {
  Node* concat = producer(quantize->input(0), "concat");
  if (concat == nullptr) return false;
  std::vector<Value*> inputs;
  for (Value* input : concat->inputs()) {
    Node* dequantize = producer(input, "dequantize_linear");
    if (dequantize == nullptr || !undoes(quantize, dequantize, true)) return false;
    if (dequantize->input(1)->constant.count() != 1) return false;
    inputs.push_back(dequantize->input(0));
  }
  REDLINE_ASSIGN(Value * joined, insert(quantize, "concat", inputs, concat->attrs()));
  replace(quantize, joined);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_and_sweep(graph, [](Node* node) -> Result<bool> {
    if (!node->is("quantize_linear") || node->output()->uses.empty()) return false;
    REDLINE_ASSIGN(bool cancelled, cancel(node));
    return cancelled ? Result<bool>(true) : cancel_concat(node);
  });
}

}  // namespace

void register_pass_qdq_cleanup(PassRegistry& registry) {
  registry.add({"qdq_cleanup", "a quantization that repeats the one before goes", run});
}

}  // namespace redline
