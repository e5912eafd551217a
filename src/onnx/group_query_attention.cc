// SPDX-License-Identifier: Apache-2.0
// com.microsoft's GroupQueryAttention, written in the IR's ops: rotation, a cache that is written
// at each sample's own place, attention with lengths.
#include <array>

#include "onnx/import_rule.h"
#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/concat.h"
#include "ops/rotary_embedding.h"
#include "ops/shape.h"
#include "ops/split.h"
#include "ops/tensor_scatter.h"
#include "ops/transpose.h"

namespace redline {
namespace {

enum Input : size_t {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kSeqLens,
  kTotalLength,
  kCos,
  kSin,
  kPositions,
  kBias,
  kHeadSink,
};

// query, key?, value?, past_key?, past_value?, seqlens_k, total_sequence_length, cos?, sin?,
// positions?, attention_bias? -> y, present_key?, present_value?
class GroupQueryAttention {
 public:
  explicit GroupQueryAttention(ImportContext& c) : c_(c) {}

  Status import() {
    REDLINE_TRY(read_attrs());
    REDLINE_TRY(read_operands());
    REDLINE_TRY(read_lengths());
    if (c_.int_attr("do_rotary") != 0) REDLINE_TRY(rotate());
    std::array<Value*, 2> present{};
    for (size_t i : {0, 1}) {
      REDLINE_ASSIGN(Value * now, split_heads(operands_[i + 1], attrs_.kv_heads));
      REDLINE_ASSIGN(present[i], append(c_.input(kPastKey + i), now));
    }
    REDLINE_ASSIGN(Value * q, split_heads(operands_[0], attrs_.q_heads));
    AttentionAttrs attrs = attrs_;
    attrs.q_heads = attrs.kv_heads = 0;
    std::vector<Value*> inputs = {q, present[0], present[1], c_.input(kBias)};
    if (has_past_) inputs.insert(inputs.end(), {nullptr, nullptr, lengths_});
    REDLINE_ASSIGN(Value * y, c_.emit("attention", inputs, attrs));
    REDLINE_ASSIGN(y, c_.emit("transpose", {y}, TransposeAttrs{{0, 2, 1, 3}}));
    REDLINE_ASSIGN(y, c_.emit("reshape", {y, ints({0, 0, -1})}));
    c_.set_output(0, y);
    for (size_t i : {0, 1}) c_.set_output(i + 1, present[i]);
    return {};
  }

 private:
  Value* ints(std::initializer_list<int64_t> values) {
    return c_.constant_ints(std::span(values.begin(), values.size()));
  }

  Status read_attrs() {
    attrs_.q_heads = c_.int_attr("num_heads");
    attrs_.kv_heads = c_.int_attr("kv_num_heads");
    if (attrs_.q_heads <= 0 || attrs_.kv_heads <= 0) {
      return invalid_argument("num_heads is ", attrs_.q_heads, ", kv_num_heads is ",
                              attrs_.kv_heads);
    }
    attrs_.causal = true;
    if (c_.float_attr("scale") != 0) attrs_.scale = c_.float_attr("scale");
    attrs_.softcap = c_.float_attr("softcap");
    int64_t window = c_.int_attr("local_window_size", -1);
    // The window counts the query itself.
    if (window > 0) attrs_.left_window = window - 1;
    if (c_.int_attr("smooth_softmax") > 0 || c_.input(kHeadSink) != nullptr) {
      return c_.unsupported_here("smooth_softmax and head_sink");
    }
    if (c_.int_attr("qk_output") != 0) return c_.unsupported_here("qk_output");
    if (c_.num_inputs() > kHeadSink + 1) return c_.unsupported_here("a quantised cache");
    for (size_t i : {kQuery, kSeqLens, kTotalLength}) {
      if (c_.input(i) == nullptr) return invalid_argument("input ", i, " is missing");
    }
    if ((c_.input(kPastKey) == nullptr) != (c_.input(kPastValue) == nullptr)) {
      return invalid_argument("past_key and past_value go together");
    }
    has_past_ = c_.input(kPastKey) != nullptr;
    return {};
  }

  // Query, key and value of rank 3; they may lie in one tensor.
  Status read_operands() {
    operands_ = {c_.input(kQuery), c_.input(kKey), c_.input(kValue)};
    if (operands_[1] != nullptr && operands_[2] != nullptr) return {};
    if (operands_[1] != nullptr || operands_[2] != nullptr) {
      return invalid_argument("key and value go together");
    }
    const Shape& shape = operands_[0]->shape();
    if (!shape.has_rank() || shape.rank() != 3 || !shape[2].is_const()) {
      return c_.unsupported_here("a packed query, key and value of unknown size");
    }
    int64_t heads = attrs_.q_heads + 2 * attrs_.kv_heads;
    int64_t size = shape[2].value() / heads;
    const std::array<int64_t, 3> sizes = {attrs_.q_heads * size, attrs_.kv_heads * size,
                                          attrs_.kv_heads * size};
    REDLINE_ASSIGN(Node * parts, c_.emit_node("split", {operands_[0], c_.constant_ints(sizes)},
                                              Attrs::of(SplitAttrs{.axis = 2}), sizes.size()));
    for (size_t i = 0; i < sizes.size(); ++i) operands_[i] = parts->output(i);
    return {};
  }

  // Where each sample's new tokens stand. A first run (as many tokens as the total) starts at 0
  // even where seqlens_k tells of padding behind a sample's tokens, which see what they should not:
  // nobody reads them.
  Status read_lengths() {
    REDLINE_ASSIGN(Value * valid, as_int64(c_.input(kSeqLens)));
    REDLINE_ASSIGN(valid, c_.emit("reshape", {valid, ints({-1})}));
    REDLINE_ASSIGN(valid, c_.emit("add", {valid, ints({1})}));
    REDLINE_ASSIGN(total_, as_int64(c_.input(kTotalLength)));
    REDLINE_ASSIGN(total_, c_.emit("reshape", {total_, ints({1})}));
    REDLINE_ASSIGN(tokens_, c_.emit("shape", {operands_[0]}, ShapeAttrs{.start = 1, .end = 2}));
    REDLINE_ASSIGN(Value * first, c_.emit("equal", {total_, tokens_}));
    REDLINE_ASSIGN(lengths_, c_.emit("where", {first, tokens_, valid}));
    REDLINE_ASSIGN(starts_, c_.emit("sub", {lengths_, tokens_}));
    return {};
  }

  Result<Value*> as_int64(Value* value) {
    return c_.emit("cast", {value}, CastAttrs{.to = DType::kInt64});
  }

  Status rotate() {
    if (c_.input(kCos) == nullptr || c_.input(kSin) == nullptr) {
      return invalid_argument("do_rotary needs cos_cache and sin_cache");
    }
    Value* positions = c_.input(kPositions);
    if (positions == nullptr) {
      REDLINE_ASSIGN(Value * count, c_.emit("squeeze", {tokens_}));
      REDLINE_ASSIGN(Value * steps, c_.emit("range", {c_.constant_scalar(DType::kInt64, 0), count,
                                                      c_.constant_scalar(DType::kInt64, 1)}));
      REDLINE_ASSIGN(Value * rows, c_.emit("unsqueeze", {starts_, ints({1})}));
      REDLINE_ASSIGN(positions, c_.emit("add", {rows, steps}));
    }
    for (size_t i : {0, 1}) {
      RotaryEmbeddingAttrs attrs;
      attrs.heads = i == 0 ? attrs_.q_heads : attrs_.kv_heads;
      attrs.interleaved = c_.int_attr("rotary_interleaved") != 0;
      const Shape& cosines = c_.input(kCos)->shape();
      // The caches' width tells how much of a head is turned.
      if (cosines.has_rank() && cosines.rank() == 2 && cosines[1].is_const()) {
        attrs.dim = 2 * cosines[1].value();
      }
      REDLINE_ASSIGN(operands_[i],
                     c_.emit("rotary_embedding",
                             {operands_[i], c_.input(kCos), c_.input(kSin), positions}, attrs));
    }
    return {};
  }

  // [batch, tokens, heads * size] -> [batch, heads, tokens, size]
  Result<Value*> split_heads(Value* value, int64_t heads) {
    REDLINE_ASSIGN(Value * cut, c_.emit("reshape", {value, ints({0, 0, heads, -1})}));
    return c_.emit("transpose", {cut}, TransposeAttrs{{0, 2, 1, 3}});
  }

  // The cache, made longer where the total does not fit, with `now` written at each sample's start.
  Result<Value*> append(Value* past, Value* now) {
    if (past == nullptr) return now;
    auto sizes = [&](int64_t start, int64_t end) {
      return c_.emit("shape", {past}, ShapeAttrs{.start = start, .end = end});
    };
    REDLINE_ASSIGN(Value * front, sizes(0, 2));
    REDLINE_ASSIGN(Value * length, sizes(2, 3));
    REDLINE_ASSIGN(Value * size, sizes(3, 4));
    REDLINE_ASSIGN(Value * missing, c_.emit("sub", {total_, length}));
    REDLINE_ASSIGN(missing, c_.emit("max", {missing, ints({0})}));
    REDLINE_ASSIGN(Value * shape,
                   c_.emit("concat", {front, missing, size}, ConcatAttrs{.axis = 0}));
    REDLINE_ASSIGN(Value * room, c_.emit("expand", {c_.constant_scalar(past->dtype(), 0), shape}));
    REDLINE_ASSIGN(Value * cache, c_.emit("concat", {past, room}, ConcatAttrs{.axis = 2}));
    return c_.emit("tensor_scatter", {cache, now, starts_}, TensorScatterAttrs{.axis = 2});
  }

  ImportContext& c_;
  AttentionAttrs attrs_;
  bool has_past_ = false;
  std::array<Value*, 3> operands_{};
  Value* total_ = nullptr;    // i64[1]
  Value* tokens_ = nullptr;   // i64[1], new ones of each sample
  Value* lengths_ = nullptr;  // i64[batch], valid keys with the new ones
  Value* starts_ = nullptr;   // i64[batch], where the new ones begin
};

Status import_group_query_attention(ImportContext& c) { return GroupQueryAttention(c).import(); }

}  // namespace

void register_import_group_query_attention(ImportRegistry& registry) {
  registry.add({"com.microsoft", "GroupQueryAttention", import_group_query_attention});
}

}  // namespace redline
