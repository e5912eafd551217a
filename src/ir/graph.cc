// SPDX-License-Identifier: Apache-2.0
#include "ir/graph.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

namespace redline {
namespace {

bool same_use(const Use& a, const Use& b) {
  return a.node == b.node && a.index == b.index && (a.node != nullptr || a.graph == b.graph);
}

using SymbolSet = std::set<std::string, std::less<>>;

// Of a set of names, or of a map by them.
template <class Names>
bool mentions(const Dim& dim, const Names& symbols) {
  if (dim.is_const() || symbols.empty()) return false;
  std::set<std::string> names = dim.symbols();
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return symbols.contains(name); });
}

// Sizes for which the rule had to invent a symbol stay as they are stored, so that inferring twice
// changes nothing.
void merge_dims(const SymDims& stored, SymDims& inferred, const SymbolSet& invented) {
  if (stored.size() != inferred.size()) return;
  for (size_t i = 0; i < stored.size(); ++i) {
    if (mentions(inferred[i], invented)) inferred[i] = stored[i];
  }
}

// Keeps what is stored where the new type says less.
Type merge_types(const Type& stored, Type inferred, const SymbolSet& invented) {
  if (stored.kind != inferred.kind) return inferred;
  if (!inferred.is_tensor()) {
    Type element = merge_types(*stored.element, *inferred.element, invented);
    inferred.element = std::make_shared<const Type>(std::move(element));
    return inferred;
  }
  if (stored.dtype != inferred.dtype || !stored.shape.has_rank()) return inferred;
  if (!inferred.shape.has_rank()) return stored;
  if (invented.empty()) return inferred;
  SymDims dims = inferred.shape.dims();
  merge_dims(stored.shape.dims(), dims, invented);
  inferred.shape = std::move(dims);
  return inferred;
}

}  // namespace

Node* Value::single_user() const { return uses.size() == 1 ? uses[0].node : nullptr; }

void Node::set_input(size_t i, Value* value) {
  Use use{this, graph_, i};
  if (inputs_[i] != nullptr) Graph::remove_use(inputs_[i], use);
  inputs_[i] = value;
  if (value != nullptr) Graph::add_use(value, use);
}

void Node::set_inputs(std::vector<Value*> values) {
  for (size_t i = 0; i < inputs_.size(); ++i) set_input(i, nullptr);
  inputs_.assign(values.size(), nullptr);
  for (size_t i = 0; i < values.size(); ++i) set_input(i, values[i]);
}

Graph::Graph(const OpRegistry& registry, std::string graph_name)
    : name(std::move(graph_name)), registry_(&registry) {}

Graph::~Graph() = default;

Value* Graph::new_value(Type type, std::string value_name) {
  auto owned = std::make_unique<Value>();
  Value* value = owned.get();
  values_.emplace(value, std::move(owned));
  value->type = std::move(type);
  value->name = std::move(value_name);
  value->graph = this;
  return value;
}

void Graph::add_use(Value* value, Use use) { value->uses.push_back(use); }

void Graph::remove_use(Value* value, Use use) {
  auto it = std::find_if(value->uses.begin(), value->uses.end(),
                         [&](const Use& other) { return same_use(use, other); });
  REDLINE_ASSERT(it != value->uses.end());
  value->uses.erase(it);
}

std::vector<Node*> Graph::node_snapshot() const {
  std::vector<Node*> result;
  result.reserve(nodes_.size());
  for (const auto& node : nodes_) result.push_back(node.get());
  return result;
}

Value* Graph::add_input(Type type, std::string input_name) {
  Value* value = new_value(std::move(type), std::move(input_name));
  value->index = inputs_.size();
  inputs_.push_back(value);
  return value;
}

void Graph::add_output(Value* value, std::string output_name) {
  add_use(value, {nullptr, this, outputs_.size()});
  outputs_.push_back(value);
  output_names_.push_back(std::move(output_name));
}

void Graph::set_output(size_t i, Value* value) {
  remove_use(outputs_[i], {nullptr, this, i});
  outputs_[i] = value;
  add_use(value, {nullptr, this, i});
}

Value* Graph::add_constant(Tensor tensor, std::string constant_name) {
  Value* value =
      new_value(Type::tensor(tensor.dtype(), Shape::of(tensor.dims())), std::move(constant_name));
  value->constant = std::move(tensor);
  return value;
}

Node* Graph::add_raw_node(const OpDef& op, std::vector<Value*> inputs, Attrs attrs,
                          size_t num_outputs, Node* before, std::string node_name) {
  auto owned = std::make_unique<Node>();
  Node* node = owned.get();
  node->op_ = &op;
  node->attrs_ = std::move(attrs);
  node->graph_ = this;
  node->name = std::move(node_name);
  node->set_inputs(std::move(inputs));
  for (size_t i = 0; i < num_outputs; ++i) {
    Value* value = new_value({}, "");
    value->producer = node;
    value->index = i;
    node->outputs_.push_back(value);
  }
  auto position = before == nullptr ? nodes_.end() : before->position_;
  node->position_ = nodes_.insert(position, std::move(owned));
  return node;
}

Result<Node*> Graph::add_node(std::string_view op_name, std::vector<Value*> inputs, Attrs attrs,
                              size_t num_outputs, Node* before, std::string node_name) {
  const OpDef* op = registry_->find(op_name);
  if (op == nullptr) return internal_error("no op named '", op_name, "'");
  Node* node = add_raw_node(*op, std::move(inputs), std::move(attrs), num_outputs, before,
                            std::move(node_name));
  Status status = infer(node);
  if (!status.ok()) {
    erase(node);
    return status;
  }
  return node;
}

Graph* Graph::add_subgraph(Node* node, std::string graph_name) {
  node->subgraphs_.push_back(std::make_unique<Graph>(*registry_, std::move(graph_name)));
  Graph* graph = node->subgraphs_.back().get();
  graph->owner = node;
  return graph;
}

Status Graph::infer(Node* node) {
  const OpDef& op = *node->op_;
  if (node->attrs_.type() != op.attrs) {
    if (node->attrs_.type() != attrs_type<NoAttrs>()) {
      return internal_error(op.name, ": built with the attributes of another op");
    }
    REDLINE_ASSIGN(node->attrs_, Attrs::load(op.attrs, {}));
  }
  size_t inputs = node->num_inputs();
  size_t outputs = node->num_outputs();
  if (inputs < op.min_inputs() || inputs > op.max_inputs()) {
    return invalid_argument(op.name, ": has ", inputs, " inputs, expected ", op.min_inputs(),
                            op.max_inputs() == op.min_inputs() ? "" : " or more");
  }
  if (outputs < op.min_outputs() || outputs > op.max_outputs()) {
    return invalid_argument(op.name, ": has ", outputs, " outputs, expected ", op.min_outputs(),
                            op.max_outputs() == op.min_outputs() ? "" : " or more");
  }
  std::vector<InferInput> infer_inputs(inputs);
  for (size_t i = 0; i < inputs; ++i) {
    Value* value = node->inputs_[i];
    if (value == nullptr) {
      if (i < op.inputs.size() && op.inputs[i].arity == Arity::kRequired) {
        return invalid_argument(op.name, ": input '", op.inputs[i].name, "' is missing");
      }
      continue;
    }
    infer_inputs[i] = {&value->type, value->is_constant() ? &value->constant : nullptr,
                       value->contents ? &*value->contents : nullptr};
  }
  InferContext context(op, node->attrs_, infer_inputs, outputs);
  SymbolSet invented;
  context.make_symbol = [this, &invented](std::string_view hint) {
    Dim symbol = fresh_symbol(hint);
    invented.insert(symbol.symbol_name());
    return symbol;
  };
  context.subgraph = [node](size_t index,
                            std::span<const Type> types) -> Result<std::vector<Type>> {
    if (index >= node->subgraphs_.size()) return internal_error("subgraph ", index, " is missing");
    Graph& graph = *node->subgraphs_[index];
    if (types.size() != graph.inputs_.size()) {
      return invalid_argument("subgraph '", graph.name, "' has ", graph.inputs_.size(),
                              " inputs, expected ", types.size());
    }
    bool changed = false;
    for (size_t i = 0; i < types.size(); ++i) {
      changed |= !(graph.inputs_[i]->type == types[i]);
      graph.inputs_[i]->type = types[i];
    }
    // What was inferred from other types says nothing about these.
    for (const auto& inner : graph.nodes_) {
      for (Value* output : inner->outputs_) {
        if (changed) output->type = {};
        if (changed) output->contents.reset();
      }
    }
    for (const auto& inner : graph.nodes_) REDLINE_TRY(graph.infer(inner.get()));
    std::vector<Type> result;
    for (Value* output : graph.outputs_) result.push_back(output->type);
    return result;
  };
  context.subgraph_input_types = [node](size_t index) {
    std::vector<Type> types;
    if (index >= node->subgraphs_.size()) return types;
    for (const Value* input : node->subgraphs_[index]->inputs_) types.push_back(input->type);
    return types;
  };
  Status status = op.infer(context);
  if (!status.ok()) {
    return node->name.empty()
               ? status
               : status.with_context("node '" + node->name + "'").at_node(node->name);
  }
  for (size_t i = 0; i < outputs; ++i) {
    Value* value = node->outputs_[i];
    Type before = std::exchange(value->type, {});
    value->type = merge_types(before, std::move(context.outputs()[i]), invented);
    // Inside a loop's body a type may change because the state's did, not because more is known.
    if (owner == nullptr) learn_sizes(before, value->type);
    std::optional<SymDims>& contents = context.output_contents()[i];
    if (!contents) continue;
    if (value->contents) merge_dims(*value->contents, *contents, invented);
    value->contents = std::move(contents);
  }
  return {};
}

namespace {

template <class Names>
bool mentions(const SymDims& dims, const Names& symbols) {
  return std::any_of(dims.begin(), dims.end(),
                     [&](const Dim& dim) { return mentions(dim, symbols); });
}

SymDims substituted(SymDims dims, const std::map<std::string, Dim, std::less<>>& symbols) {
  for (Dim& dim : dims) {
    if (!dim.is_const()) dim = dim.substitute(symbols);
  }
  return dims;
}

}  // namespace

void Graph::substitute_symbols(const SymbolMap& symbols) {
  for (const auto& [key, value] : values_) {
    if (value->type.is_tensor() && value->shape().has_rank() &&
        mentions(value->shape().dims(), symbols)) {
      value->type.shape = substituted(value->shape().dims(), symbols);
    }
    if (value->contents && mentions(*value->contents, symbols)) {
      value->contents = substituted(*value->contents, symbols);
    }
  }
  for (const auto& node : nodes_) {
    AttrMap map = node->attrs_.map();
    bool changed = false;
    for (NamedAttr& attr : map) {
      SymDims* dims = std::get_if<SymDims>(&attr.value);
      if (dims == nullptr || !mentions(*dims, symbols)) continue;
      *dims = substituted(std::move(*dims), symbols);
      changed = true;
    }
    if (changed) {
      if (Result<Attrs> attrs = Attrs::load(node->attrs_.type(), map); attrs.ok()) {
        node->attrs_ = *std::move(attrs);
      }
    }
    for (const auto& subgraph : node->subgraphs_) subgraph->substitute_symbols(symbols);
  }
}

void Graph::replace_uses(Value* from, Value* to) {
  REDLINE_ASSERT(from != to);
  std::vector<Use> uses = from->uses;
  for (const Use& use : uses) {
    if (use.node != nullptr) {
      use.node->set_input(use.index, to);
    } else {
      use.graph->set_output(use.index, to);
    }
  }
  if (to->name.empty()) to->name = from->name;
  learn_sizes(from->type, to->type);
}

// The types are of one value: where the first has a symbol that some rule invented and the second
// another size, the symbol becomes that size everywhere, in attributes too.
void Graph::learn_sizes(const Type& before, const Type& after) {
  if (!before.is_tensor() || !after.is_tensor() || before.shape == after.shape) return;
  if (!before.shape.has_rank() || !after.shape.has_rank()) return;
  if (before.shape.rank() != after.shape.rank()) return;
  Graph& top = outermost();
  auto is_given = [&](const Dim& symbol) {
    for (const Value* input : top.inputs_) {
      if (!input->type.is_tensor() || !input->shape().has_rank()) continue;
      const SymDims& dims = input->shape().dims();
      if (std::find(dims.begin(), dims.end(), symbol) != dims.end()) return true;
    }
    return false;
  };
  SymbolMap known;
  for (int axis = 0; axis < before.shape.rank(); ++axis) {
    const Dim& symbol = before.shape[axis];
    const Dim& size = after.shape[axis];
    if (!symbol.is_symbol() || symbol == size || size.is_invalid() || is_given(symbol)) continue;
    if (!size.symbols().contains(symbol.symbol_name())) known.emplace(symbol.symbol_name(), size);
  }
  if (!known.empty()) top.substitute_symbols(known);
}

void Graph::erase(Node* node) {
  for (Value* output : node->outputs_) REDLINE_ASSERT(output->uses.empty());
  for (const auto& subgraph : node->subgraphs_) {
    // Readers inside vanish with the subgraph: release what they read, last node first.
    while (!subgraph->outputs_.empty()) {
      remove_use(subgraph->outputs_.back(),
                 {nullptr, subgraph.get(), subgraph->outputs_.size() - 1});
      subgraph->outputs_.pop_back();
    }
    while (!subgraph->nodes_.empty()) subgraph->erase(subgraph->nodes_.back().get());
  }
  node->set_inputs({});
  for (Value* output : node->outputs_) values_.erase(output);
  nodes_.erase(node->position_);
}

void Graph::erase_from(std::vector<Value*>& values, size_t i) {
  REDLINE_ASSERT(values[i]->uses.empty());
  values_.erase(values[i]);
  values.erase(values.begin() + static_cast<std::ptrdiff_t>(i));
  for (; i < values.size(); ++i) values[i]->index = i;
}

void Graph::erase_input(size_t i) { erase_from(inputs_, i); }

void Graph::erase_output(size_t i) {
  for (size_t j = i; j < outputs_.size(); ++j) remove_use(outputs_[j], {nullptr, this, j});
  outputs_.erase(outputs_.begin() + static_cast<std::ptrdiff_t>(i));
  output_names_.erase(output_names_.begin() + static_cast<std::ptrdiff_t>(i));
  for (; i < outputs_.size(); ++i) add_use(outputs_[i], {nullptr, this, i});
}

void Graph::erase_output(Node* node, size_t i) { erase_from(node->outputs_, i); }

void Graph::move_before(Node* node, Node* before) {
  nodes_.splice(before->position_, nodes_, node->position_);
}

std::vector<Value*> Graph::inline_subgraph(Node* node, size_t index,
                                           const std::vector<Value*>& arguments) {
  Graph& inner = *node->subgraphs_[index];
  REDLINE_ASSERT(arguments.size() == inner.inputs_.size());
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!inner.inputs_[i]->uses.empty()) inner.replace_uses(inner.inputs_[i], arguments[i]);
  }
  std::vector<Value*> outputs = inner.outputs_;
  for (size_t i = inner.outputs_.size(); i-- > 0;) {
    remove_use(inner.outputs_[i], {nullptr, &inner, i});
  }
  inner.outputs_.clear();
  inner.output_names_.clear();
  for (auto it = inner.values_.begin(); it != inner.values_.end();) {
    Value* value = it->second.get();
    if (value->is_graph_input()) {
      ++it;
      continue;
    }
    value->graph = this;
    values_.emplace(value, std::move(it->second));
    it = inner.values_.erase(it);
  }
  for (const auto& moved : inner.nodes_) {
    moved->graph_ = this;
    for (size_t i = 0; i < moved->inputs_.size(); ++i) moved->set_input(i, moved->inputs_[i]);
  }
  nodes_.splice(node->position_, inner.nodes_);
  return outputs;
}

size_t Graph::erase_dead() {
  size_t erased = 0;
  for (auto it = nodes_.end(); it != nodes_.begin();) {
    --it;
    Node* node = it->get();
    for (const auto& subgraph : node->subgraphs_) erased += subgraph->erase_dead();
    bool dead = std::all_of(node->outputs_.begin(), node->outputs_.end(),
                            [](const Value* value) { return value->uses.empty(); });
    if (!dead) continue;
    ++it;
    erase(node);
    ++erased;
  }
  std::erase_if(values_, [](const auto& entry) {
    return entry.second->is_constant() && entry.second->uses.empty();
  });
  return erased;
}

Graph& Graph::outermost() {
  Graph* graph = this;
  while (graph->owner != nullptr) graph = graph->owner->graph();
  return *graph;
}

Dim Graph::fresh_symbol(std::string_view hint) {
  Graph& top = outermost();
  return Dim::symbol(str_cat(hint.empty() ? "u" : hint, ".", top.next_symbol_++));
}

void Graph::reserve_symbol(std::string_view symbol) {
  size_t dot = symbol.rfind('.');
  if (dot == std::string_view::npos) return;
  std::string_view digits = symbol.substr(dot + 1);
  int number = 0;
  auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (problem != std::errc() || end != digits.data() + digits.size()) return;
  Graph& top = outermost();
  constexpr int kLimit = 1 << 30;  // a hostile number leaves room to count on
  if (number < kLimit) top.next_symbol_ = std::max(top.next_symbol_, number + 1);
}

void Graph::for_each_node(const std::function<void(Node*)>& fn) const {
  for (Node* node : node_snapshot()) {
    fn(node);
    for (const auto& subgraph : node->subgraphs()) subgraph->for_each_node(fn);
  }
}

void Graph::clone_into(Graph& to, ValueMap& map) const {
  for (const auto& [value, owned] : values_) {
    if (!value->is_constant()) continue;
    Value* copy = to.add_constant(value->constant, value->name);
    copy->contents = value->contents;
    map.emplace(value, copy);
  }
  for (const Value* input : inputs_) {
    Value* copy = to.add_input(input->type, input->name);
    copy->contents = input->contents;
    map.emplace(input, copy);
  }
  for (const auto& node : nodes_) {
    std::vector<Value*> operands;
    for (const Value* input : node->inputs_) {
      operands.push_back(input == nullptr ? nullptr : map.at(input));
    }
    Node* copy = to.add_raw_node(*node->op_, std::move(operands), node->attrs_, node->num_outputs(),
                                 nullptr, node->name);
    for (const auto& subgraph : node->subgraphs_) {
      subgraph->clone_into(*to.add_subgraph(copy, subgraph->name), map);
    }
    for (size_t i = 0; i < node->num_outputs(); ++i) {
      const Value* from = node->output(i);
      Value* output = copy->output(i);
      output->name = from->name;
      output->type = from->type;
      output->contents = from->contents;
      map.emplace(from, output);
    }
  }
  for (size_t i = 0; i < outputs_.size(); ++i) to.add_output(map.at(outputs_[i]), output_names_[i]);
}

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>(*registry_, name);
  ValueMap map;
  clone_into(*copy, map);
  copy->next_symbol_ = next_symbol_;
  return copy;
}

}  // namespace redline
