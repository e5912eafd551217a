// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "ir/rewrite.h"
#include "ops/channels_last.h"
#include "ops/concat.h"
#include "ops/conv.h"
#include "ops/pad.h"
#include "ops/pool.h"
#include "ops/reduce.h"
#include "ops/reshape.h"
#include "ops/softmax.h"
#include "ops/split.h"
#include "ops/transpose.h"
#include "passes/pass.h"

namespace redline {
namespace {

// Where axis i of [n, c, spatial...] is in [n, spatial..., c].
int64_t moved_axis(int64_t axis, int rank) {
  if (axis < 0) axis += rank;
  return axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1;
}

std::vector<int64_t> permutation(int rank, bool to_back) {
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  return to_back ? channels_to_back(perm) : channels_to_front(perm);
}

bool has_image_rank(const Value* value) {
  return value != nullptr && value->type.is_tensor() && value->shape().has_rank() &&
         value->shape().rank() >= 3 && value->shape().rank() <= 5;
}

// Those whose convolutions have kernels for channels-last images.
bool is_image_type(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

bool is_one(const Dim& dim) { return dim.is_const() && dim.value() == 1; }

// One graph. Each node that works as well on channels-last images gets a twin that does; values
// that others still want as they were are turned back behind the twin, and the rest dies.
class ChannelsLast {
 public:
  explicit ChannelsLast(Graph& graph) : graph_(graph) {}

  Result<bool> run() {
    if (!pays()) return false;
    for (Node* node : graph_.node_snapshot()) REDLINE_TRY(visit(node));
    if (twins_.empty()) return false;
    REDLINE_TRY(turn_back());
    graph_.erase_dead();
    return true;
  }

 private:
  // Turning one convolution's data there and back costs what it gains.
  bool pays() const {
    int convolutions = 0;
    for (const auto& node : graph_.nodes()) convolutions += is_convolution(node.get());
    return convolutions > 1;
  }

  static bool is_convolution(const Node* node) {
    return (node->is("conv") || node->is("conv_transpose")) && has_image_rank(node->input(0)) &&
           is_image_type(node->input(0)->dtype());
  }

  // The channels-last form of a value; made when there is none.
  Result<Value*> last(Value* value, Node* at) {
    if (auto it = twins_.find(value); it != twins_.end()) return it->second;
    int rank = value->shape().rank();
    if (value->is_constant()) return turn_constant(value);
    if (auto it = inserted_.find(value); it != inserted_.end()) return it->second;
    REDLINE_ASSIGN(Value * turned, insert_turn(at, value, rank, true));
    inserted_.emplace(value, turned);
    return turned;
  }

  // A transpose, or what only renames axes where all but one of those that move are 1.
  Result<Value*> insert_turn(Node* at, Value* value, int rank, bool to_back) {
    const Shape& shape = value->shape();
    int channel = to_back ? 1 : rank - 1;
    int first = to_back ? 2 : 1;
    bool flat = true;
    std::vector<int64_t> spatial;
    std::vector<int64_t> spatial_after;
    for (int i = first; i < first + rank - 2; ++i) {
      flat &= is_one(shape[i]);
      spatial.push_back(i);
      spatial_after.push_back(to_back ? i - 1 : i + 1);
    }
    if (is_one(shape[channel])) {
      return insert_rename(at, value, {channel}, {to_back ? rank - 1 : 1});
    }
    if (flat) return insert_rename(at, value, spatial, spatial_after);
    return insert(at, "transpose", {value}, TransposeAttrs{permutation(rank, to_back)});
  }

  Result<Value*> ints(const std::vector<int64_t>& values) {
    REDLINE_ASSIGN(Tensor tensor,
                   Tensor::create(DType::kInt64, {static_cast<int64_t>(values.size())}));
    std::copy(values.begin(), values.end(), tensor.mutable_data<int64_t>());
    return graph_.add_constant(std::move(tensor));
  }

  Result<Value*> insert_rename(Node* at, Value* value, const std::vector<int64_t>& before,
                               const std::vector<int64_t>& after) {
    REDLINE_ASSIGN(Value * axes, ints(before));
    REDLINE_ASSIGN(Value * squeezed, insert(at, "squeeze", {value, axes}));
    REDLINE_ASSIGN(Value * new_axes, ints(after));
    return insert(at, "unsqueeze", {squeezed, new_axes});
  }

  Result<Value*> turn_constant(Value* value) {
    if (auto it = constants_.find(value); it != constants_.end()) return it->second;
    const Tensor& from = value->constant;
    size_t bytes = dtype_bytes(from.dtype());
    Dims dims = from.dims();
    REDLINE_ASSIGN(Tensor to, Tensor::create(from.dtype(), channels_to_back(dims)));
    int64_t channels = dims[1];
    int64_t area = dims.count(2, dims.rank());
    const char* source = static_cast<const char*>(from.raw());
    char* target = static_cast<char*>(to.mutable_raw());
    for (int64_t n = 0; n < dims[0]; ++n) {
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t s = 0; s < area; ++s) {
          std::copy_n(source + static_cast<size_t>((n * channels + c) * area + s) * bytes, bytes,
                      target + static_cast<size_t>((n * area + s) * channels + c) * bytes);
        }
      }
    }
    Value* turned = graph_.add_constant(std::move(to), value->name);
    constants_.emplace(value, turned);
    return turned;
  }

  bool is_turned(const Value* value) const {
    return value != nullptr && twins_.contains(const_cast<Value*>(value));
  }

  Status twin(Node* node, std::string_view op, std::vector<Value*> inputs, Attrs attrs) {
    REDLINE_ASSIGN(Node * made, graph_.add_node(op, std::move(inputs), std::move(attrs),
                                                node->num_outputs(), node, node->name));
    for (size_t i = 0; i < node->num_outputs(); ++i) {
      twins_.emplace(node->output(i), made->output(i));
      // By this name `redline compare` knows what it is.
      const std::string& name = node->output(i)->name;
      if (!name.empty()) made->output(i)->name = name + "@channels_last";
    }
    replaced_.insert(node);
    return {};
  }

  template <class A>
  Status twin_of_window(Node* node) {
    A attrs = node->attrs<A>();
    if (attrs.channels_last) return {};
    attrs.channels_last = true;
    std::vector<Value*> inputs = node->inputs();
    REDLINE_ASSIGN(inputs[0], last(inputs[0], node));
    return twin(node, node->op().name, std::move(inputs), Attrs::of(std::move(attrs)));
  }

  Status visit(Node* node) {
    if (node->num_outputs() == 0 || !has_image_rank(node->input(0))) {
      return visit_pointwise(node);
    }
    bool image = is_image_type(node->input(0)->dtype());
    if (node->is("conv") && image) return twin_of_window<ConvAttrs>(node);
    if (node->is("conv_transpose") && image) return twin_of_window<ConvTransposeAttrs>(node);
    if (node->op().has(kTraitPointwise)) return visit_pointwise(node);
    if (node->is("concat")) return visit_concat(node);
    if (node->is("reshape")) return visit_shuffle(node);
    if (!is_turned(node->input(0))) return {};
    if (node->is("max_pool") && node->num_outputs() == 1) return twin_of_window<MaxPoolAttrs>(node);
    if (node->is("average_pool")) return twin_of_window<AveragePoolAttrs>(node);
    if (node->is("global_average_pool")) return visit_global(node, "reduce_mean");
    if (node->is("global_max_pool")) return visit_global(node, "reduce_max");
    if (node->op().has(kTraitReduction)) return visit_reduce(node);
    if (node->is("softmax") || node->is("log_softmax")) return visit_axis<SoftmaxAttrs>(node);
    if (node->is("split")) return visit_axis<SplitAttrs>(node);
    if (node->is("slice")) return visit_slice(node);
    if (node->is("pad")) return visit_pad(node);
    if (node->is("resize")) return visit_resize(node);
    if (node->is("identity")) return twin(node, "identity", {twins_.at(node->input(0))}, {});
    if (node->is("transpose")) return visit_transpose(node);
    return {};
  }

  // Operands of fewer axes are aligned at the last one, which is now another.
  Result<Value*> pointwise_operand(Value* value, int rank, Node* at) {
    if (value->shape().rank() == rank) return last(value, at);
    if (!value->is_constant()) return value;  // one element
    if (value->constant.count() == 1) return value;
    Dims dims;
    for (int i = value->shape().rank(); i < rank; ++i) dims.push_back(1);
    for (int64_t dim : value->constant.dims()) dims.push_back(dim);
    return turn_constant(graph_.add_constant(value->constant.reshaped(dims), value->name));
  }

  Status visit_pointwise(Node* node) {
    if (!node->op().has(kTraitPointwise) || node->num_outputs() != 1) return {};
    if (!has_image_rank(node->output())) return {};
    int rank = node->output()->shape().rank();
    int turned = 0;
    int others = 0;
    for (Value* input : node->inputs()) {
      if (input == nullptr) continue;
      if (!input->type.is_tensor() || !input->shape().has_rank()) return {};
      if (is_turned(input)) {
        ++turned;
      } else if (input->is_constant()) {
        if (input->dtype() == DType::kString || dtype_bits(input->dtype()) < 8) return {};
      } else if (input->shape().rank() == rank) {
        ++others;
      } else {
        std::optional<Dims> dims = static_dims(input);
        if (!dims || dims->count() != 1) return {};
      }
      if (input->shape().rank() > rank) return {};
      if (is_turned(input) && input->shape().rank() != rank) return {};
    }
    if (turned == 0 || others > turned) return {};
    std::vector<Value*> inputs;
    for (Value* input : node->inputs()) {
      if (input == nullptr) {
        inputs.push_back(nullptr);
        continue;
      }
      REDLINE_ASSIGN(Value * operand, pointwise_operand(input, rank, node));
      inputs.push_back(operand);
    }
    return twin(node, node->op().name, std::move(inputs), node->attrs());
  }

  Status visit_concat(Node* node) {
    size_t turned = 0;
    for (Value* input : node->inputs()) turned += is_turned(input);
    if (turned * 2 < node->num_inputs() || turned == 0) return {};
    int rank = node->output()->shape().rank();
    std::vector<Value*> inputs;
    for (Value* input : node->inputs()) {
      REDLINE_ASSIGN(Value * operand, last(input, node));
      inputs.push_back(operand);
    }
    ConcatAttrs attrs;
    attrs.axis = moved_axis(node->attrs<ConcatAttrs>().axis, rank);
    return twin(node, "concat", std::move(inputs), Attrs::of(attrs));
  }

  Status visit_global(Node* node, std::string_view reduce) {
    int rank = node->input(0)->shape().rank();
    std::vector<int64_t> spatial(static_cast<size_t>(rank - 2));
    std::iota(spatial.begin(), spatial.end(), 1);
    REDLINE_ASSIGN(Value * axes, ints(spatial));
    return twin(node, reduce, {twins_.at(node->input(0)), axes}, Attrs::of(ReduceAttrs{}));
  }

  Status visit_reduce(Node* node) {
    std::optional<std::vector<int64_t>> axes = constant_ints(node->input(1));
    if (node->attrs().type() != attrs_type<ReduceAttrs>() || !axes || axes->empty()) return {};
    int rank = node->input(0)->shape().rank();
    bool channel = false;
    size_t spatial = 0;
    for (int64_t& axis : *axes) {
      int64_t positive = axis < 0 ? axis + rank : axis;
      channel |= positive == 1;
      spatial += positive > 1;
      axis = moved_axis(positive, rank);
    }
    std::sort(axes->begin(), axes->end());
    REDLINE_ASSIGN(Value * moved, ints(*axes));
    std::vector<Value*> inputs = {twins_.at(node->input(0)), moved};
    if (node->attrs<ReduceAttrs>().keepdims) {
      return twin(node, node->op().name, std::move(inputs), node->attrs());
    }
    // Without the axes it does not matter where the channels were, when nothing is left to be
    // before or behind them.
    if (!channel && spatial != static_cast<size_t>(rank - 2)) return {};
    REDLINE_ASSIGN(Value * y, insert(node, node->op().name, std::move(inputs), node->attrs()));
    graph_.replace_uses(node->output(), y);
    return {};
  }

  template <class A>
  Status visit_axis(Node* node) {
    A attrs = node->attrs<A>();
    attrs.axis = moved_axis(attrs.axis, node->input(0)->shape().rank());
    std::vector<Value*> inputs = node->inputs();
    inputs[0] = twins_.at(inputs[0]);
    return twin(node, node->op().name, std::move(inputs), Attrs::of(std::move(attrs)));
  }

  Status visit_slice(Node* node) {
    std::optional<std::vector<int64_t>> axes = constant_ints(node->input(3));
    if (!axes) return {};
    int rank = node->input(0)->shape().rank();
    for (int64_t& axis : *axes) axis = moved_axis(axis, rank);
    std::vector<Value*> inputs = node->inputs();
    inputs[0] = twins_.at(inputs[0]);
    REDLINE_ASSIGN(inputs[3], ints(*axes));
    return twin(node, "slice", std::move(inputs), node->attrs());
  }

  Status visit_pad(Node* node) {
    std::optional<std::vector<int64_t>> pads = constant_ints(node->input(1));
    auto rank = static_cast<size_t>(node->input(0)->shape().rank());
    if (!pads || pads->size() != 2 * rank || node->input(3) != nullptr) return {};
    std::vector<int64_t> moved(pads->size());
    for (size_t i = 0; i < rank; ++i) {
      auto to = static_cast<size_t>(moved_axis(static_cast<int64_t>(i), static_cast<int>(rank)));
      moved[to] = (*pads)[i];
      moved[to + rank] = (*pads)[i + rank];
    }
    std::vector<Value*> inputs = node->inputs();
    inputs[0] = twins_.at(inputs[0]);
    REDLINE_ASSIGN(inputs[1], ints(moved));
    return twin(node, "pad", std::move(inputs), node->attrs());
  }

  // Constant scales or sizes of all axes; a region of interest only matters to crops.
  Status visit_resize(Node* node) {
    for (const NamedAttr& attr : node->attrs().map()) {
      bool plain = attr.name == "mode" || attr.name == "nearest_mode" ||
                   attr.name == "coordinate_transformation_mode" || attr.name == "cubic_coeff_a";
      if (!plain) return {};
      const auto* text = std::get_if<std::string>(&attr.value);
      if (text != nullptr && *text == "tf_crop_and_resize") return {};
    }
    int rank = node->input(0)->shape().rank();
    std::vector<Value*> inputs = {twins_.at(node->input(0)), nullptr};
    for (size_t i = 2; i < node->num_inputs(); ++i) {
      Value* list = node->input(i);
      if (list == nullptr) {
        inputs.push_back(nullptr);
        continue;
      }
      if (!list->is_constant() || list->constant.count() != rank) return {};
      size_t bytes = dtype_bytes(list->dtype());
      REDLINE_ASSIGN(Tensor moved, Tensor::create(list->dtype(), list->constant.dims()));
      for (int axis = 0; axis < rank; ++axis) {
        std::copy_n(
            static_cast<const char*>(list->constant.raw()) + static_cast<size_t>(axis) * bytes,
            bytes,
            static_cast<char*>(moved.mutable_raw()) +
                static_cast<size_t>(moved_axis(axis, rank)) * bytes);
      }
      inputs.push_back(graph_.add_constant(std::move(moved)));
    }
    return twin(node, "resize", std::move(inputs), node->attrs());
  }

  // A transpose of an image that was turned is another transpose of what it was turned to.
  Status visit_transpose(Node* node) {
    int rank = node->input(0)->shape().rank();
    std::vector<int64_t> perm = node->attrs<TransposeAttrs>().perm;
    if (static_cast<int>(perm.size()) != rank) return {};
    for (int64_t& axis : perm) axis = moved_axis(axis, rank);
    Value* turned = twins_.at(node->input(0));
    Value* y = turned;
    if (!std::is_sorted(perm.begin(), perm.end())) {
      REDLINE_ASSIGN(y, insert(node, "transpose", {turned}, TransposeAttrs{std::move(perm)}));
    }
    graph_.replace_uses(node->output(), y);
    return {};
  }

  // [n, c, ...] -> [n, a, b, ...] -> [n, b, a, ...] -> [n, c, ...]: channels are shuffled.
  Status visit_shuffle(Node* node) {
    Node* swap = sole_producer(node->input(0), "transpose");
    Node* divide = swap == nullptr ? nullptr : sole_producer(swap->input(0), "reshape");
    if (divide == nullptr || !is_turned(divide->input(0)) || !has_image_rank(node->output())) {
      return {};
    }
    Value* x = divide->input(0);
    int rank = x->shape().rank();
    std::vector<int64_t> perm = swap->attrs<TransposeAttrs>().perm;
    const Shape& parts = divide->output()->shape();
    bool swaps = static_cast<int>(perm.size()) == rank + 1 && parts.has_rank() &&
                 parts.rank() == rank + 1 && node->output()->shape() == x->shape() &&
                 parts[0] == x->shape()[0] && parts[1].is_const() && parts[2].is_const() &&
                 x->shape()[1].is_const() &&
                 parts[1].value() * parts[2].value() == x->shape()[1].value();
    for (int i = 0; swaps && i <= rank; ++i) {
      int64_t expected = i == 1 ? 2 : i == 2 ? 1 : i;
      swaps &= perm[static_cast<size_t>(i)] == expected;
      if (i > 2) swaps &= parts[i] == x->shape()[i - 1];
    }
    if (!swaps) return {};
    auto spatial = static_cast<size_t>(rank - 1);
    std::vector<int64_t> divided(spatial, 0);  // 0 keeps a size
    divided.push_back(parts[1].value());
    divided.push_back(parts[2].value());
    std::vector<int64_t> joined(spatial, 0);
    joined.push_back(x->shape()[1].value());
    std::vector<int64_t> last_swap(static_cast<size_t>(rank + 1));
    std::iota(last_swap.begin(), last_swap.end(), 0);
    std::swap(last_swap[static_cast<size_t>(rank - 1)], last_swap[static_cast<size_t>(rank)]);
    REDLINE_ASSIGN(Value * divided_sizes, ints(divided));
    REDLINE_ASSIGN(Value * y,
                   insert(node, "reshape", {twins_.at(x), divided_sizes}, ReshapeAttrs{}));
    REDLINE_ASSIGN(y, insert(node, "transpose", {y}, TransposeAttrs{std::move(last_swap)}));
    REDLINE_ASSIGN(Value * joined_sizes, ints(joined));
    return twin(node, "reshape", {y, joined_sizes}, Attrs::of(ReshapeAttrs{}));
  }

  // Readers that were left as they are get the value in its old order.
  Status turn_back() {
    for (Node* node : graph_.node_snapshot()) {
      if (!replaced_.contains(node)) continue;
      for (Value* value : node->outputs()) {
        bool wanted = std::any_of(value->uses.begin(), value->uses.end(), [&](const Use& use) {
          return use.node == nullptr || !replaced_.contains(use.node);
        });
        if (!wanted) continue;
        Value* turned = twins_.at(value);
        REDLINE_ASSIGN(Value * back, insert_turn(node, turned, turned->shape().rank(), false));
        if (back->name.empty()) back->name = value->name;
        graph_.replace_uses(value, back);
      }
    }
    return {};
  }

  Graph& graph_;
  std::unordered_map<Value*, Value*> twins_;
  std::unordered_map<Value*, Value*> inserted_;
  std::unordered_map<Value*, Value*> constants_;
  std::unordered_set<const Node*> replaced_;
};

Result<bool> run(Graph& graph, PassContext&) {
  return for_each_graph(graph, [](Graph& g) { return ChannelsLast(g).run(); });
}

}  // namespace

void register_pass_channels_last(PassRegistry& registry) {
  registry.add({"channels_last", "convolutions and what stands between them on [n, ..., c]", run});
}

}  // namespace redline
