// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/attention.h"
#include "ops/conv.h"
#include "ops/gemm.h"
#include "ops/matmul.h"
#include "passes/half_plan.h"

namespace redline {
namespace {

constexpr std::string_view kNoMatrix = "each channel by itself is no product of matrices";
constexpr std::string_view kNoKernel = "no kernel of it rounds to tf32";
constexpr std::string_view kKept[] = {"einsum", "lstm", "gru", "rnn", "deform_conv"};

template <class A>
Attrs with_tf32(const Node& node) {
  A attrs = node.attrs<A>();
  attrs.tf32 = true;
  return Attrs::of(attrs);
}

// The attributes that let a product round its operands; none for other ops.
std::optional<Attrs> rounding_attrs(const Node& node) {
  if (node.is("matmul")) return with_tf32<MatmulAttrs>(node);
  if (node.is("gemm")) return with_tf32<GemmAttrs>(node);
  if (node.is("conv")) return with_tf32<ConvAttrs>(node);
  if (node.is("conv_transpose")) return with_tf32<ConvTransposeAttrs>(node);
  if (node.is("attention")) return with_tf32<AttentionAttrs>(node);
  return std::nullopt;
}

bool is_depthwise(const Node& node) {
  const Shape& w = node.input(1)->shape();
  return node.is("conv") && node.attrs<ConvAttrs>().group > 1 && w.has_rank() && w[1] == Dim(1) &&
         w[0] == Dim(node.attrs<ConvAttrs>().group);
}

void allow(Node* node, PrecisionReport& report) {
  if (node->num_inputs() == 0 || !is_f32(node->input(0))) return;
  bool kept = std::find(std::begin(kKept), std::end(kKept), node->op().name) != std::end(kKept);
  if (kept) return report.keep(*node, kNoKernel);
  std::optional<Attrs> attrs = rounding_attrs(*node);
  if (!attrs) return;
  if (is_depthwise(*node)) return report.keep(*node, kNoMatrix);
  node->set_attrs(*std::move(attrs));
  ++report.lowered;
}

Result<bool> run(Graph& graph, PassContext& context) {
  if (!context.options.tf32) return false;
  PrecisionReport report;
  report.tf32 = true;
  report.range_check = "not run: tf32 reaches as far as f32";
  graph.for_each_node([&](Node* node) { allow(node, report); });
  context.options.logger.info("allow_tf32: ", report.lowered,
                              " nodes round what they multiply to tf32");
  context.lowered = report.lowered > 0;
  if (context.options.precision_report != nullptr) {
    *context.options.precision_report = std::move(report);
  }
  return context.lowered;
}

}  // namespace

void register_pass_allow_tf32(PassRegistry& registry) {
  registry.add(
      {"allow_tf32", "products round their f32 operands to tf32 where that is asked for", run});
}

}  // namespace redline
