// SPDX-License-Identifier: Apache-2.0
#include "ops/attention.h"

#include "onnx/import_rule.h"
#include "ops/linear_attention.h"
#include "ops/rotary_embedding.h"

namespace redline {
namespace {

Status import_attention(ImportContext& c) {
  AttentionAttrs attrs;
  attrs.q_heads = c.int_attr("q_num_heads");
  attrs.kv_heads = c.int_attr("kv_num_heads");
  if (c.has_attr("scale")) attrs.scale = c.float_attr("scale");
  attrs.softcap = c.float_attr("softcap");
  attrs.causal = c.int_attr("is_causal") != 0;
  attrs.left_window = c.int_attr("left_window_size", -1);
  attrs.right_window = c.int_attr("right_window_size", -1);
  if (c.int_attr("softmax_precision") != 0) {
    attrs.softmax_dtype = c.dtype_attr("softmax_precision", DType::kFloat32);
  }
  int64_t mode = c.int_attr("qk_matmul_output_mode");
  if (mode < 0 || mode > 3) return invalid_argument("qk_matmul_output_mode is ", mode);
  attrs.qk_output = static_cast<QkOutput>(mode);
  REDLINE_ASSIGN(Node * node,
                 c.emit_node("attention", c.inputs(), Attrs::of(attrs), c.num_outputs()));
  c.set_outputs(node);
  return {};
}

Status import_rotary_embedding(ImportContext& c) {
  return c.import_same("rotary_embedding",
                       {{"rotary_embedding_dim", "dim"}, {"num_heads", "heads"}});
}

Status import_linear_attention(ImportContext& c) {
  return c.import_same(
      "linear_attention",
      {{"q_num_heads", "q_heads"}, {"kv_num_heads", "kv_heads"}, {"update_rule", "update"}});
}

}  // namespace

void register_import_attention(ImportRegistry& registry) {
  registry.add("Attention", import_attention);
  registry.add("RotaryEmbedding", import_rotary_embedding);
  registry.add("LinearAttention", import_linear_attention);
}

}  // namespace redline
