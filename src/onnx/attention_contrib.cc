// SPDX-License-Identifier: Apache-2.0
// The com.microsoft forms of attention and what goes with it, written in the IR's ops.
#include <array>

#include "onnx/import_rule.h"
#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/concat.h"
#include "ops/layer_norm.h"
#include "ops/reduce.h"
#include "ops/rotary_embedding.h"
#include "ops/shape.h"
#include "ops/split.h"

namespace redline {
namespace {

Value* ints(ImportContext& c, std::initializer_list<int64_t> values) {
  return c.constant_ints(std::span(values.begin(), values.size()));
}

Result<Value*> add(ImportContext& c, Value* a, Value* b) {
  if (a == nullptr || b == nullptr) return a == nullptr ? b : a;
  return c.emit("add", {a, b});
}

Result<std::vector<Value*>> split(ImportContext& c, Value* data, int64_t axis,
                                  std::span<const int64_t> sizes) {
  REDLINE_ASSIGN(Node * node, c.emit_node("split", {data, c.constant_ints(sizes)},
                                          Attrs::of(SplitAttrs{.axis = axis}), sizes.size()));
  return node->outputs();
}

// Operands of attention that a mask of integers becomes.
struct Mask {
  Value* bias = nullptr;     // added to the scores
  Value* lengths = nullptr;  // valid keys of each batch
};

// 1 attends, 0 adds a large negative number; one of rank 1 tells lengths.
Result<Mask> read_mask(ImportContext& c, Value* mask, const Value& query) {
  if (mask == nullptr) return Mask{};
  if (!mask->shape().has_rank()) return c.unsupported_here("a mask of unknown rank");
  int rank = mask->shape().rank();
  if (rank == 1) {
    if (!query.shape().has_rank() || mask->shape()[0] != query.shape()[0]) {
      return c.unsupported_here("a mask of rank 1 that is not one length for each batch");
    }
    REDLINE_ASSIGN(Value * lengths, c.emit("cast", {mask}, CastAttrs{.to = DType::kInt64}));
    return Mask{nullptr, lengths};
  }
  if (rank != 2 && rank != 3) {
    return c.unsupported_here(str_cat("a mask of rank ", rank, "; expected 1 to 3"));
  }
  DType dtype = query.dtype();
  REDLINE_ASSIGN(Value * bias, c.emit("cast", {mask}, CastAttrs{.to = dtype}));
  REDLINE_ASSIGN(bias, c.emit("sub", {c.constant_scalar(dtype, 1), bias}));
  double filter = c.float_attr("mask_filter_value", -10000.0f);
  REDLINE_ASSIGN(bias, c.emit("mul", {bias, c.constant_scalar(dtype, filter)}));
  Value* axes = rank == 2 ? ints(c, {1, 2}) : ints(c, {1});
  REDLINE_ASSIGN(bias, c.emit("unsqueeze", {bias, axes}));
  return Mask{bias, nullptr};
}

Result<AttentionAttrs> contrib_attrs(ImportContext& c) {
  AttentionAttrs attrs;
  attrs.q_heads = attrs.kv_heads = c.int_attr("num_heads");
  if (attrs.q_heads <= 0) return invalid_argument("num_heads is ", attrs.q_heads);
  attrs.causal = c.int_attr("unidirectional") != 0;
  if (c.float_attr("scale") != 0) attrs.scale = c.float_attr("scale");
  if (c.int_attr("past_present_share_buffer") != 0) {
    return c.unsupported_here("past_present_share_buffer; a past that grows is supported");
  }
  return attrs;
}

Result<Node*> emit_attention(ImportContext& c, std::vector<Value*> operands, const Mask& mask,
                             const AttentionAttrs& attrs, size_t num_outputs) {
  if (mask.lengths != nullptr && (attrs.causal || operands[4] != nullptr)) {
    return c.unsupported_here("lengths with causal attention or a past");
  }
  REDLINE_ASSIGN(operands[3], add(c, mask.bias, operands[3]));
  operands.push_back(mask.lengths);
  while (operands.back() == nullptr) operands.pop_back();
  return c.emit_node("attention", std::move(operands), Attrs::of(attrs), num_outputs);
}

// input, weights, bias?, mask?, past?, attention_bias? -> y, present?
Status import_attention(ImportContext& c) {
  REDLINE_ASSIGN(AttentionAttrs attrs, contrib_attrs(c));
  if (c.int_attr("do_rotary") != 0) return c.unsupported_here("do_rotary");
  Value* weights = c.input(1);
  std::vector<int64_t> sizes = c.ints_attr("qkv_hidden_sizes");
  if (sizes.empty()) {
    bool known = weights != nullptr && weights->shape().has_rank() &&
                 weights->shape().rank() == 2 && weights->shape()[1].is_const();
    if (!known) return c.unsupported_here("weights of unknown sizes");
    sizes.assign(3, weights->shape()[1].value() / 3);
  }
  if (sizes.size() != 3) return invalid_argument("qkv_hidden_sizes must list 3 sizes");
  REDLINE_ASSIGN(Value * packed, c.emit("matmul", {c.input(0), weights}));
  REDLINE_ASSIGN(packed, add(c, packed, c.input(2)));
  REDLINE_ASSIGN(std::vector<Value*> operands, split(c, packed, 2, sizes));
  operands.push_back(c.input(5));
  if (Value* past = c.input(4)) {
    REDLINE_ASSIGN(std::vector<Value*> pasts, split(c, past, 0, std::array<int64_t, 2>{1, 1}));
    for (Value* part : pasts) {
      REDLINE_ASSIGN(part, c.emit("squeeze", {part, ints(c, {0})}));
      operands.push_back(part);
    }
  } else {
    operands.resize(6);
  }
  REDLINE_ASSIGN(Mask mask, read_mask(c, c.input(3), *c.input(0)));
  REDLINE_ASSIGN(Node * node,
                 emit_attention(c, std::move(operands), mask, attrs, c.wants_output(1) ? 3 : 1));
  c.set_output(0, node->output(0));
  if (!c.wants_output(1)) return {};
  std::vector<Value*> present;
  for (size_t i : {1, 2}) {
    REDLINE_ASSIGN(Value * part, c.emit("unsqueeze", {node->output(i), ints(c, {0})}));
    present.push_back(part);
  }
  REDLINE_ASSIGN(Value * joined, c.emit("concat", present, ConcatAttrs{.axis = 0}));
  c.set_output(1, joined);
  return {};
}

// query, key, value, bias?, key_padding_mask?, attention_bias?, past_key?, past_value?
// -> y, present_key?, present_value?
Status import_multi_head_attention(ImportContext& c) {
  REDLINE_ASSIGN(AttentionAttrs attrs, contrib_attrs(c));
  std::vector<Value*> operands;
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < 3; ++i) {
    Value* operand = c.input(i);
    if (operand == nullptr || !operand->shape().has_rank() || operand->shape().rank() != 3) {
      return c.unsupported_here(
          "packed or transposed operands; expected query, key and value of "
          "rank 3");
    }
    operands.push_back(operand);
    sizes.push_back(operand->shape()[2].as_const().value_or(-1));
  }
  if (c.num_inputs() > 8) return c.unsupported_here("a past of a given length, or a beam's cache");
  if (c.input(3) != nullptr) {
    for (int64_t size : sizes) {
      if (size < 0) return c.unsupported_here("a bias for operands of unknown size");
    }
    REDLINE_ASSIGN(std::vector<Value*> biases, split(c, c.input(3), 0, sizes));
    for (size_t i = 0; i < 3; ++i) {
      REDLINE_ASSIGN(operands[i], add(c, operands[i], biases[i]));
    }
  }
  for (size_t i : {5, 6, 7}) operands.push_back(c.input(i));
  REDLINE_ASSIGN(Mask mask, read_mask(c, c.input(4), *c.input(0)));
  REDLINE_ASSIGN(Node * node, emit_attention(c, std::move(operands), mask, attrs, c.num_outputs()));
  c.set_outputs(node);
  return {};
}

// input, position_ids, cos_cache, sin_cache
Status import_rotary_embedding(ImportContext& c) {
  RotaryEmbeddingAttrs attrs;
  attrs.dim = c.int_attr("rotary_embedding_dim");
  attrs.heads = c.int_attr("num_heads");
  attrs.interleaved = c.int_attr("interleaved") != 0;
  if (c.int_attr("is_packed_batching") != 0) return c.unsupported_here("is_packed_batching");
  if (c.float_attr("scale", 1) != 1) return c.unsupported_here("scale");
  const Value* x = c.input(0);
  const Value* cosines = c.input(2);
  bool flat = x != nullptr && x->shape().has_rank() && x->shape().rank() == 3;
  if (flat && attrs.heads == 0) {
    bool known = x->shape()[2].is_const() && cosines != nullptr && cosines->shape().has_rank() &&
                 cosines->shape().rank() == 2 && cosines->shape()[1].is_const() &&
                 cosines->shape()[1].value() > 0;
    if (!known) return c.unsupported_here("unknown sizes without num_heads");
    attrs.heads = x->shape()[2].value() / (2 * cosines->shape()[1].value());
  }
  REDLINE_ASSIGN(Value * out, c.emit("rotary_embedding",
                                     {c.input(0), c.input(2), c.input(3), c.input(1)}, attrs));
  c.set_output(0, out);
  return {};
}

Result<Value*> look_up(ImportContext& c, size_t table, Value* ids) {
  if (c.input(table) == nullptr) return invalid_argument("input ", table, " is missing");
  return c.emit("gather", {c.input(table), ids});
}

// input_ids, segment_ids?, word_embedding, position_embedding, segment_embedding?, gamma, beta,
// mask?, position_ids? -> y, mask_index?, embedding_sum?
Status import_embed_layer_norm(ImportContext& c) {
  Value* ids = c.input(0);
  if (ids == nullptr) return invalid_argument("input_ids is missing");
  REDLINE_ASSIGN(Value * sum, look_up(c, 2, ids));
  Value* positions = nullptr;
  if (c.input(8) != nullptr) {
    REDLINE_ASSIGN(positions, look_up(c, 3, c.input(8)));
  } else {
    REDLINE_ASSIGN(Value * length, c.emit("shape", {ids}, ShapeAttrs{.start = 1, .end = 2}));
    REDLINE_ASSIGN(positions, c.emit("slice", {c.input(3), ints(c, {0}), length, ints(c, {0})}));
  }
  REDLINE_ASSIGN(sum, add(c, sum, positions));
  if (c.input(1) != nullptr) {
    REDLINE_ASSIGN(Value * segments, look_up(c, 4, c.input(1)));
    REDLINE_ASSIGN(sum, add(c, sum, segments));
  }
  LayerNormAttrs norm{.axis = -1, .epsilon = c.float_attr("epsilon", 1e-12f)};
  REDLINE_ASSIGN(Value * out, c.emit("layer_norm", {sum, c.input(5), c.input(6)}, norm));
  c.set_output(0, out);
  c.set_output(2, sum);
  if (!c.wants_output(1)) return {};
  // How many tokens each row attends to; zero without a mask.
  Value* counted = c.input(7);
  if (counted == nullptr) {
    REDLINE_ASSIGN(counted, c.emit("sub", {ids, ids}));
  }
  REDLINE_ASSIGN(Value * count,
                 c.emit("reduce_sum", {counted, ints(c, {1})}, ReduceAttrs{.keepdims = false}));
  c.set_output(1, count);
  return {};
}

}  // namespace

void register_import_attention_contrib(ImportRegistry& registry) {
  registry.add({"com.microsoft", "Attention", import_attention});
  registry.add({"com.microsoft", "MultiHeadAttention", import_multi_head_attention});
  registry.add({"com.microsoft", "RotaryEmbedding", import_rotary_embedding});
  registry.add({"com.microsoft", "EmbedLayerNormalization", import_embed_layer_norm});
}

}  // namespace redline
