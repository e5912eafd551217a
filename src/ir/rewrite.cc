// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"

#include <algorithm>
#include <cmath>

#include "ops/elements.h"

namespace redline {
namespace {

constexpr int64_t kMaxInts = 4096;
constexpr double kExactInteger = 9007199254740992.0;  // 2^53

bool is_number(DType dtype) { return dtype != DType::kString; }

double first_element(const Tensor& tensor) {
  TensorView view{tensor.dtype(), Dims{1}, const_cast<void*>(tensor.raw())};
  return with_wide_type(tensor.dtype(), [&](auto wide) {
    return static_cast<double>(read_elements<decltype(wide)>(view)[0]);
  });
}

}  // namespace

Node* producer(const Value* value, std::string_view op) {
  if (value == nullptr || value->producer == nullptr || value->index != 0) return nullptr;
  return value->producer->is(op) ? value->producer : nullptr;
}

Node* sole_producer(const Value* value, std::string_view op) {
  Node* node = producer(value, op);
  return node != nullptr && value->uses.size() == 1 ? node : nullptr;
}

Node* sole_user(const Value* value, std::string_view op) {
  Node* node = value == nullptr ? nullptr : value->single_user();
  return node != nullptr && node->is(op) ? node : nullptr;
}

std::optional<double> splat_constant(const Value* value) {
  if (value == nullptr || !value->is_constant() || !is_number(value->dtype())) return std::nullopt;
  const Tensor& tensor = value->constant;
  if (tensor.count() == 0) return std::nullopt;
  size_t size = dtype_bytes(tensor.dtype());
  auto* bytes = tensor.data<uint8_t>();
  if (!std::equal(bytes + size, bytes + tensor.bytes(), bytes)) return std::nullopt;
  double result = first_element(tensor);
  if (!is_float(tensor.dtype()) && std::abs(result) > kExactInteger) return std::nullopt;
  return result;
}

std::optional<double> scalar_constant(const Value* value) {
  if (value == nullptr || !value->is_constant() || value->constant.count() != 1) {
    return std::nullopt;
  }
  return splat_constant(value);
}

bool is_scalar(const Value* value, double expected, double relative_tolerance) {
  std::optional<double> actual = scalar_constant(value);
  return actual && std::abs(*actual - expected) <= relative_tolerance * std::abs(expected);
}

std::optional<std::vector<int64_t>> constant_ints(const Value* value) {
  if (value == nullptr || !value->type.is_tensor()) return std::nullopt;
  if (!is_int(value->dtype()) && value->dtype() != DType::kBool) return std::nullopt;
  if (value->is_constant()) {
    if (value->constant.count() > kMaxInts) return std::nullopt;
    return read_ints(value->constant.view());
  }
  if (!value->contents) return std::nullopt;
  std::vector<int64_t> result;
  for (const Dim& dim : *value->contents) {
    if (!dim.is_const()) return std::nullopt;
    result.push_back(dim.value());
  }
  return result;
}

std::optional<Dims> static_dims(const Value* value) {
  if (value == nullptr || !value->type.is_tensor()) return std::nullopt;
  return value->shape().as_static();
}

bool same_type(const Value* a, const Value* b) { return a->type == b->type; }

Value* other_operand(const Node* node, const Value* one) {
  return node->input(0) == one ? node->input(1) : node->input(0);
}

struct Pattern::Rep {
  enum class Kind { kAny, kConstant, kScalar, kMadeBy, kAbsent };
  Kind kind = Kind::kAny;
  std::string name;
  std::vector<std::string> ops;
  std::vector<Pattern> inputs;
  double value = 0;
  double tolerance = 0;
  bool shared = false;
  std::vector<std::function<bool(const Node&)>> node_conditions;
  std::vector<std::function<bool(const Value&)>> value_conditions;
};

namespace {

template <class Rep, class Fn>
std::shared_ptr<const Rep> changed(const std::shared_ptr<const Rep>& rep, Fn&& change) {
  auto copy = std::make_shared<Rep>(*rep);
  change(*copy);
  return copy;
}

}  // namespace

Pattern Pattern::where(std::function<bool(const Node&)> condition) const {
  Pattern result;
  result.rep_ = changed(rep_, [&](Rep& rep) { rep.node_conditions.push_back(condition); });
  return result;
}

Pattern Pattern::where_value(std::function<bool(const Value&)> condition) const {
  Pattern result;
  result.rep_ = changed(rep_, [&](Rep& rep) { rep.value_conditions.push_back(condition); });
  return result;
}

Pattern Pattern::named(std::string name) const {
  Pattern result;
  result.rep_ = changed(rep_, [&](Rep& rep) { rep.name = std::move(name); });
  return result;
}

Pattern Pattern::shared() const {
  Pattern result;
  result.rep_ = changed(rep_, [&](Rep& rep) { rep.shared = true; });
  return result;
}

Pattern any_value(std::string name) {
  Pattern result;
  auto rep = std::make_shared<Pattern::Rep>();
  rep->name = std::move(name);
  result.rep_ = std::move(rep);
  return result;
}

Pattern constant_value(std::string name) {
  Pattern result;
  auto rep = std::make_shared<Pattern::Rep>();
  rep->kind = Pattern::Rep::Kind::kConstant;
  rep->name = std::move(name);
  result.rep_ = std::move(rep);
  return result;
}

Pattern scalar(double value, double relative_tolerance) {
  Pattern result;
  auto rep = std::make_shared<Pattern::Rep>();
  rep->kind = Pattern::Rep::Kind::kScalar;
  rep->value = value;
  rep->tolerance = relative_tolerance;
  result.rep_ = std::move(rep);
  return result;
}

Pattern made_by_any(std::vector<std::string> ops, std::vector<Pattern> inputs) {
  Pattern result;
  auto rep = std::make_shared<Pattern::Rep>();
  rep->kind = Pattern::Rep::Kind::kMadeBy;
  rep->ops = std::move(ops);
  rep->inputs = std::move(inputs);
  result.rep_ = std::move(rep);
  return result;
}

Pattern made_by(std::string op, std::vector<Pattern> inputs) {
  return made_by_any({std::move(op)}, std::move(inputs));
}

Pattern absent() {
  Pattern result;
  auto rep = std::make_shared<Pattern::Rep>();
  rep->kind = Pattern::Rep::Kind::kAbsent;
  result.rep_ = std::move(rep);
  return result;
}

// Depth-first with backtracking: what is still to be matched is a stack of goals, so that a later
// failure comes back to the choices of operand order made before it.
struct PatternMatcher {
  using Rep = Pattern::Rep;
  struct Goal {
    Value* value;
    const Rep* rep;
  };

  Match match;
  std::vector<Node*> exclusive;  // whose readers must all be in the match

  bool solve(std::vector<Goal> goals) {
    if (goals.empty()) return readers_are_inside();
    Goal goal = goals.back();
    goals.pop_back();
    const Rep& rep = *goal.rep;
    Value* value = goal.value;
    if (rep.kind == Rep::Kind::kAbsent) return value == nullptr && solve(std::move(goals));
    if (value == nullptr) return false;
    if (!rep.name.empty()) {
      if (Value* bound = find(rep.name)) {
        // Its own conditions were checked where it was bound.
        return bound == value && solve(std::move(goals));
      }
    }
    for (const auto& condition : rep.value_conditions) {
      if (!condition(*value)) return false;
    }
    size_t values = match.values.size();
    if (!rep.name.empty()) match.values.emplace_back(rep.name, value);
    if (solve_kind(value, rep, goals)) return true;
    match.values.resize(values);
    return false;
  }

  bool solve_kind(Value* value, const Rep& rep, const std::vector<Goal>& goals) {
    switch (rep.kind) {
      case Rep::Kind::kConstant:
        return value->is_constant() && solve(goals);
      case Rep::Kind::kScalar:
        return is_scalar(value, rep.value, rep.tolerance) && solve(goals);
      case Rep::Kind::kMadeBy:
        return solve_node(value, rep, goals);
      default:
        return solve(goals);
    }
  }

  bool solve_node(Value* value, const Rep& rep, const std::vector<Goal>& goals) {
    Node* node = value->producer;
    if (node == nullptr || value->index != 0) return false;
    if (std::find(rep.ops.begin(), rep.ops.end(), node->op().name) == rep.ops.end()) return false;
    for (const auto& condition : rep.node_conditions) {
      if (!condition(*node)) return false;
    }
    for (size_t i = rep.inputs.size(); i < node->num_inputs(); ++i) {
      if (node->input(i) != nullptr) return false;
    }
    size_t nodes = match.nodes.size();
    size_t exclusives = exclusive.size();
    match.nodes.push_back(node);
    if (!rep.shared && nodes > 0) exclusive.push_back(node);
    bool both_orders = node->op().has(kTraitCommutative) && rep.inputs.size() >= 2;
    for (int order = 0; order < (both_orders ? 2 : 1); ++order) {
      std::vector<Goal> next = goals;
      for (size_t i = rep.inputs.size(); i-- > 0;) {
        size_t operand = order == 1 && i < 2 ? 1 - i : i;
        next.push_back({node->input(operand), rep.inputs[i].rep_.get()});
      }
      size_t values = match.values.size();
      if (solve(std::move(next))) return true;
      match.values.resize(values);
      match.nodes.resize(nodes + 1);
      exclusive.resize(!rep.shared && nodes > 0 ? exclusives + 1 : exclusives);
    }
    match.nodes.resize(nodes);
    exclusive.resize(exclusives);
    return false;
  }

  bool readers_are_inside() const {
    for (const Node* node : exclusive) {
      for (const Value* output : node->outputs()) {
        for (const Use& use : output->uses) {
          if (use.node == nullptr ||
              std::find(match.nodes.begin(), match.nodes.end(), use.node) == match.nodes.end()) {
            return false;
          }
        }
      }
    }
    return true;
  }

  Value* find(std::string_view name) const {
    for (const auto& [bound, value] : match.values) {
      if (bound == name) return value;
    }
    return nullptr;
  }

  static std::optional<Match> run(Value* root, const Pattern& pattern) {
    PatternMatcher matcher;
    if (root == nullptr || !matcher.solve({{root, pattern.rep_.get()}})) return std::nullopt;
    return std::move(matcher.match);
  }
};

Value* Match::value(std::string_view name) const {
  for (const auto& [bound, value] : values) {
    if (bound == name) return value;
  }
  return nullptr;
}

std::optional<Match> match(Value* root, const Pattern& pattern) {
  return PatternMatcher::run(root, pattern);
}

Result<Value*> insert(Node* at, std::string_view op, std::vector<Value*> inputs, Attrs attrs,
                      size_t num_outputs) {
  REDLINE_ASSIGN(Node * node, at->graph()->add_node(op, std::move(inputs), std::move(attrs),
                                                    num_outputs, at, at->name));
  return node->output(0);
}

Result<Value*> insert_constant(Graph& graph, DType dtype, const Dims& dims, double value) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
  with_wide_type(dtype, [&](auto wide) {
    using W = decltype(wide);
    write_elements(std::vector<W>(static_cast<size_t>(tensor.count()), static_cast<W>(value)),
                   tensor.view());
  });
  return graph.add_constant(std::move(tensor));
}

void replace(Node* node, Value* with) {
  node->graph()->replace_uses(node->output(0), with);
  bool unread = std::all_of(node->outputs().begin(), node->outputs().end(),
                            [](const Value* value) { return value->uses.empty(); });
  if (unread) node->graph()->erase(node);
}

Result<bool> for_each_graph(Graph& graph, const std::function<Result<bool>(Graph&)>& fn) {
  REDLINE_ASSIGN(bool any, fn(graph));
  for (Node* node : graph.node_snapshot()) {
    for (const auto& subgraph : node->subgraphs()) {
      REDLINE_ASSIGN(bool inner, for_each_graph(*subgraph, fn));
      any |= inner;
    }
  }
  return any;
}

Result<bool> rewrite_nodes(Graph& graph, const std::function<Result<bool>(Node*)>& fn) {
  bool any = false;
  for (auto it = graph.nodes().begin(); it != graph.nodes().end();) {
    Node* node = it->get();
    ++it;
    for (const auto& subgraph : node->subgraphs()) {
      REDLINE_ASSIGN(bool inner, rewrite_nodes(*subgraph, fn));
      any |= inner;
    }
    REDLINE_ASSIGN(bool rewritten, fn(node));
    any |= rewritten;
  }
  return any;
}

Result<bool> rewrite_and_sweep(Graph& graph, const std::function<Result<bool>(Node*)>& fn) {
  REDLINE_ASSIGN(bool changed, rewrite_nodes(graph, fn));
  if (changed) graph.erase_dead();
  return changed;
}

}  // namespace redline
