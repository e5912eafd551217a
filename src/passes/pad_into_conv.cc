// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ir/rewrite.h"
#include "ops/conv.h"
#include "ops/pad.h"
#include "ops/pool.h"
#include "passes/pass.h"

namespace redline {
namespace {

// What a pad of constants adds to the spatial axes: begins, then ends; none when it does more.
std::optional<std::vector<int64_t>> spatial_pads(const Node* pad) {
  if (pad->attrs<PadAttrs>().mode != PadMode::kConstant) return std::nullopt;
  if (!pad->input(0)->shape().has_rank()) return std::nullopt;
  int rank = pad->input(0)->shape().rank();
  std::optional<std::vector<int64_t>> pads = constant_ints(pad->input(1));
  if (!pads || rank < 3) return std::nullopt;
  std::vector<int64_t> axes;
  if (pad->input(3) != nullptr) {
    std::optional<std::vector<int64_t>> named = constant_ints(pad->input(3));
    if (!named) return std::nullopt;
    for (int64_t axis : *named) axes.push_back(axis < 0 ? axis + rank : axis);
  } else {
    for (int i = 0; i < rank; ++i) axes.push_back(i);
  }
  if (pads->size() != 2 * axes.size()) return std::nullopt;
  auto spatial = static_cast<size_t>(rank - 2);
  std::vector<int64_t> result(2 * spatial, 0);
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t begin = (*pads)[i];
    int64_t end = (*pads)[axes.size() + i];
    if (begin < 0 || end < 0) return std::nullopt;
    if (begin == 0 && end == 0) continue;
    if (axes[i] < 2 || axes[i] >= rank) return std::nullopt;
    auto axis = static_cast<size_t>(axes[i] - 2);
    result[axis] = begin;
    result[spatial + axis] = end;
  }
  return result;
}

bool pads_with(const Node* pad, double value) {
  if (pad->input(2) == nullptr) return value == 0;
  std::optional<double> own = scalar_constant(pad->input(2));
  return own && *own == value;
}

bool add_pads(std::vector<int64_t>& pads, const std::vector<int64_t>& more) {
  if (pads.empty()) pads.assign(more.size(), 0);
  if (pads.size() != more.size()) return false;
  for (size_t i = 0; i < pads.size(); ++i) pads[i] += more[i];
  return true;
}

template <class A>
bool widen(Node* node, const std::vector<int64_t>& more) {
  A attrs = node->attrs<A>();
  if (attrs.auto_pad != AutoPad::kNotSet && attrs.auto_pad != AutoPad::kValid) return false;
  if constexpr (requires { attrs.channels_last; }) {
    if (attrs.channels_last) return false;
  }
  attrs.auto_pad = AutoPad::kNotSet;
  if constexpr (std::is_same_v<A, AveragePoolAttrs>) {
    // Zeros of its own that do not count cannot be told from those of the pad, which do.
    for (int64_t p : attrs.pads) {
      if (p != 0 && !attrs.count_include_pad) return false;
    }
    attrs.count_include_pad = true;
  }
  // No window begins in the padding at the end, so the number of windows would change.
  if constexpr (requires { attrs.ceil_mode; }) {
    if (attrs.ceil_mode) return false;
  }
  if (!add_pads(attrs.pads, more)) return false;
  node->set_attrs(Attrs::of(attrs));
  return true;
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_nodes(graph, [](Node* node) -> Result<bool> {
    bool conv = node->is("conv");
    bool average = node->is("average_pool");
    bool maximum = node->is("max_pool") && node->num_outputs() == 1;
    if (!conv && !average && !maximum) return false;
    Node* pad = producer(node->input(0), "pad");
    if (pad == nullptr || !pads_with(pad, maximum ? -INFINITY : 0)) return false;
    std::optional<std::vector<int64_t>> pads = spatial_pads(pad);
    if (!pads) return false;
    bool done = conv      ? widen<ConvAttrs>(node, *pads)
                : average ? widen<AveragePoolAttrs>(node, *pads)
                          : widen<MaxPoolAttrs>(node, *pads);
    if (done) node->set_input(0, pad->input(0));
    return done;
  });
}

}  // namespace

void register_pass_pad_into_conv(PassRegistry& registry) {
  registry.add({"pad_into_conv", "convolutions and pools take the padding before them", run});
}

}  // namespace redline
