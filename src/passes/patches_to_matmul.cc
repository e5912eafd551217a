// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ir/rewrite.h"
#include "ops/conv.h"
#include "ops/reshape.h"
#include "ops/transpose.h"
#include "passes/pass.h"

namespace redline {
namespace {

// A convolution that cuts images [n, c, h, w] into patches side by side.
struct Patches {
  Dim images;
  int64_t channels = 0, down = 0, across = 0;  // patches of an image
  int64_t height = 0, width = 0, filters = 0;  // of a patch
};

std::optional<Patches> as_patches(const Node* conv) {
  const auto& attrs = conv->attrs<ConvAttrs>();
  const Value* w = conv->input(1);
  const Shape& x = conv->input(0)->shape();
  if (!w->is_constant() || w->constant.rank() != 4 || !x.has_rank() || x.rank() != 4) {
    return std::nullopt;
  }
  const Dims& filter = w->constant.dims();
  auto all = [](const std::vector<int64_t>& list, int64_t expected) {
    return std::all_of(list.begin(), list.end(), [&](int64_t v) { return v == expected; });
  };
  bool plain = attrs.group == 1 && !attrs.channels_last && all(attrs.pads, 0) &&
               all(attrs.dilations, 1) &&
               (attrs.auto_pad == AutoPad::kNotSet || attrs.auto_pad == AutoPad::kValid) &&
               attrs.strides == std::vector<int64_t>{filter[2], filter[3]};
  if (!plain || !x[2].is_const() || !x[3].is_const() || filter[2] * filter[3] == 1) {
    return std::nullopt;
  }
  Patches patches{
      x[0],      filter[1], x[2].value() / filter[2], x[3].value() / filter[3], filter[2],
      filter[3], filter[0]};
  bool whole = patches.down * patches.height == x[2].value() &&
               patches.across * patches.width == x[3].value();
  return whole ? std::optional(patches) : std::nullopt;
}

// The transpose that makes tokens [n, patches, filters] of the convolution's images, and is the
// only one to read them.
Node* tokens_of(Node* conv, const Patches& patches) {
  Node* view = sole_user(conv->output(), "reshape");
  if (view == nullptr || !view->attrs<ReshapeAttrs>().sizes) return nullptr;
  SymDims joined = {patches.images, Dim(patches.filters), Dim(patches.down * patches.across)};
  if (*view->attrs<ReshapeAttrs>().sizes != joined) return nullptr;
  Node* transpose = sole_user(view->output(), "transpose");
  if (transpose == nullptr) return nullptr;
  return transpose->attrs<TransposeAttrs>().perm == std::vector<int64_t>{0, 2, 1} ? transpose
                                                                                  : nullptr;
}

// A row of numbers for each patch, times the filters: what was a convolution whose result was
// turned is a product.
Result<bool> rewrite(Node* conv) {
  if (!conv->is("conv") || conv->output()->uses.empty()) return false;
  std::optional<Patches> patches = as_patches(conv);
  Node* tokens = patches ? tokens_of(conv, *patches) : nullptr;
  if (tokens == nullptr) return false;
  const Patches& p = *patches;
  int64_t depth = p.channels * p.height * p.width;
  SymDims cut = {p.images,      Dim(p.channels), Dim(p.down),
                 Dim(p.height), Dim(p.across),   Dim(p.width)};
  SymDims rows = {p.images, Dim(p.down * p.across), Dim(depth)};
  REDLINE_ASSIGN(Value * y, insert(conv, "reshape", {conv->input(0)}, ReshapeAttrs{.sizes = cut}));
  REDLINE_ASSIGN(y, insert(conv, "transpose", {y}, TransposeAttrs{{0, 2, 4, 1, 3, 5}}));
  REDLINE_ASSIGN(y, insert(conv, "reshape", {y}, ReshapeAttrs{.sizes = rows}));
  SymDims flat = {Dim(p.filters), Dim(depth)};
  REDLINE_ASSIGN(Value * weights,
                 insert(conv, "reshape", {conv->input(1)}, ReshapeAttrs{.sizes = flat}));
  REDLINE_ASSIGN(weights, insert(conv, "transpose", {weights}, TransposeAttrs{{1, 0}}));
  REDLINE_ASSIGN(y, insert(conv, "matmul", {y, weights}));
  if (conv->input(2) != nullptr) {
    REDLINE_ASSIGN(y, insert(conv, "add", {y, conv->input(2)}));
  }
  // Not erased here: it comes after the node that is being rewritten.
  conv->graph()->replace_uses(tokens->output(), y);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_patches_to_matmul(PassRegistry& registry) {
  registry.add({"patches_to_matmul", "convolutions that make tokens of patches are products", run});
}

}  // namespace redline
