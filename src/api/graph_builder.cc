// SPDX-License-Identifier: Apache-2.0
#include "api/build_graph.h"
#include "ir/graph.h"
#include "ir/text.h"
#include "redline/builder.h"

namespace redline {

struct GraphBuilder::Impl {
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<Graph> graph = std::make_unique<Graph>(*ops);
  std::vector<redline::Value*> values;
  std::string position;

  Status usable() const {
    if (graph == nullptr) return invalid_argument("this builder has built its graph already");
    return {};
  }
  Status here(const Status& status) const {
    return position.empty() ? status : status.with_context(position).at_position(position);
  }
  Value add(redline::Value* value) {
    values.push_back(value);
    return {static_cast<int>(values.size()) - 1};
  }
  Result<redline::Value*> find(Value value) const {
    if (!value.present()) return static_cast<redline::Value*>(nullptr);
    if (static_cast<size_t>(value.id) >= values.size()) {
      return invalid_argument("value ", value.id, " is not of this builder");
    }
    return values[static_cast<size_t>(value.id)];
  }
};

GraphBuilder::GraphBuilder() : impl_(std::make_unique<Impl>()) {}
GraphBuilder::GraphBuilder(GraphBuilder&&) noexcept = default;
GraphBuilder& GraphBuilder::operator=(GraphBuilder&&) noexcept = default;
GraphBuilder::~GraphBuilder() = default;

void GraphBuilder::set_position(std::string position) { impl_->position = std::move(position); }

Result<GraphBuilder::Value> GraphBuilder::input(std::string name, DType dtype,
                                                std::span<const std::string> dims) {
  REDLINE_TRY(impl_->usable());
  if (dims.size() > kMaxRank) return impl_->here(unsupported("rank ", dims.size()));
  SymDims sizes;
  for (const std::string& text : dims) {
    Result<Dim> dim = Dim::parse(text);
    if (!dim.ok()) return impl_->here(dim.status().with_context("input '" + name + "'"));
    if (dim->is_const() && dim->value() < 0) {
      return impl_->here(invalid_argument("input '", name, "': size ", dim->value()));
    }
    sizes.push_back(*dim);
  }
  for (const redline::Value* other : impl_->graph->inputs()) {
    if (other->name == name)
      return impl_->here(invalid_argument("input '", name, "' is there already"));
  }
  return impl_->add(
      impl_->graph->add_input(Type::tensor(dtype, std::move(sizes)), std::move(name)));
}

Result<GraphBuilder::Value> GraphBuilder::constant(Tensor tensor, std::string name) {
  REDLINE_TRY(impl_->usable());
  if (!tensor.defined())
    return impl_->here(invalid_argument("constant '", name, "' has no elements"));
  return impl_->add(impl_->graph->add_constant(std::move(tensor), std::move(name)));
}

Result<std::vector<GraphBuilder::Value>> GraphBuilder::op_with_outputs(
    std::string_view op, const std::vector<Value>& inputs, size_t num_outputs,
    const Attributes& attributes, std::string name) {
  REDLINE_TRY(impl_->usable());
  const OpDef* def = impl_->ops->find(op);
  if (def == nullptr) return impl_->here(not_found("no op is called '", op, "'"));
  if (def->num_subgraphs > 0) return impl_->here(unsupported("op '", op, "' has subgraphs"));
  AttrMap map;
  for (const auto& [key, value] : attributes) {
    map.push_back({key, std::visit([](const auto& v) -> AttrValue { return v; }, value)});
  }
  Result<Attrs> attrs = Attrs::load(def->attrs, map);
  if (!attrs.ok()) return impl_->here(attrs.status().with_context(op));
  std::vector<redline::Value*> operands;
  for (Value input : inputs) {
    REDLINE_ASSIGN(redline::Value * value, impl_->find(input));
    operands.push_back(value);
  }
  Result<Node*> node = impl_->graph->add_node(op, std::move(operands), *std::move(attrs),
                                              num_outputs, nullptr, std::move(name));
  if (!node.ok()) return impl_->here(node.status());
  std::vector<Value> results;
  for (redline::Value* output : (*node)->outputs()) results.push_back(impl_->add(output));
  return results;
}

Result<GraphBuilder::Value> GraphBuilder::op(std::string_view op, const std::vector<Value>& inputs,
                                             const Attributes& attributes, std::string name) {
  REDLINE_ASSIGN(std::vector<Value> results,
                 op_with_outputs(op, inputs, 1, attributes, std::move(name)));
  return results[0];
}

Status GraphBuilder::output(Value value, std::string name) {
  REDLINE_TRY(impl_->usable());
  REDLINE_ASSIGN(redline::Value * found, impl_->find(value));
  if (found == nullptr)
    return impl_->here(invalid_argument("output '", name, "' is an absent value"));
  for (const std::string& other : impl_->graph->output_names()) {
    if (other == name) return impl_->here(invalid_argument("output '", name, "' is there already"));
  }
  impl_->graph->add_output(found, std::move(name));
  return {};
}

Result<std::string> GraphBuilder::type(Value value) const {
  REDLINE_TRY(impl_->usable());
  REDLINE_ASSIGN(redline::Value * found, impl_->find(value));
  if (found == nullptr) return invalid_argument("an absent value has no type");
  return found->type.to_string();
}

std::string GraphBuilder::text() const {
  return impl_->graph == nullptr ? "" : print_graph(*impl_->graph);
}

Result<Engine> GraphBuilder::build(const BuildSettings& settings) {
  REDLINE_TRY(impl_->usable());
  if (impl_->graph->outputs().empty()) return invalid_argument("the graph has no outputs");
  std::unique_ptr<Graph> graph = std::move(impl_->graph);
  return build_graph(std::move(impl_->ops), *graph, {}, settings);
}

std::vector<std::string> GraphBuilder::op_names() {
  std::vector<std::string> names;
  for (const OpDef* op : make_op_registry()->all()) names.push_back(op->name);
  return names;
}

}  // namespace redline
