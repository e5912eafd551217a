// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "ops/op.h"

namespace redline {

class Graph;
class Node;
struct Value;

// One reading of a value: an operand of a node, or (node == null) an output of `graph`.
struct Use {
  Node* node = nullptr;
  Graph* graph = nullptr;
  size_t index = 0;
};

// An edge of the graph. Owned by the graph that made it; made by a node, a graph input, or a
// constant.
struct Value {
  std::string name;  // a hint; the printer makes names unique
  Type type;
  Node* producer = nullptr;  // null for graph inputs and constants
  size_t index = 0;          // which output of the producer, or which input of the graph
  Graph* graph = nullptr;
  Tensor constant;  // defined() for constants
  // The elements of an integer tensor in row-major order, when shape arithmetic tells them.
  std::optional<SymDims> contents;
  std::vector<Use> uses;

  bool is_constant() const { return constant.defined(); }
  bool is_graph_input() const { return producer == nullptr && !is_constant(); }
  DType dtype() const { return type.dtype; }
  const Shape& shape() const { return type.shape; }
  // The only reading is one operand of one node; returns that node, else null.
  Node* single_user() const;
};

// One application of an op. Operands change only through set_input, so that uses stay true.
class Node {
 public:
  const OpDef& op() const { return *op_; }
  bool is(std::string_view op_name) const { return op_->name == op_name; }
  const Attrs& attrs() const { return attrs_; }
  template <class A>
  const A& attrs() const {
    return attrs_.as<A>();
  }
  void set_attrs(Attrs attrs) { attrs_ = std::move(attrs); }

  size_t num_inputs() const { return inputs_.size(); }
  Value* input(size_t i) const {
    return i < inputs_.size() ? inputs_[i] : nullptr;
  }  // null: absent
  const std::vector<Value*>& inputs() const { return inputs_; }
  void set_input(size_t i, Value* value);
  void set_inputs(std::vector<Value*> values);

  size_t num_outputs() const { return outputs_.size(); }
  Value* output(size_t i = 0) const { return outputs_[i]; }
  const std::vector<Value*>& outputs() const { return outputs_; }

  Graph* graph() const { return graph_; }
  std::vector<std::unique_ptr<Graph>>& subgraphs() { return subgraphs_; }
  const std::vector<std::unique_ptr<Graph>>& subgraphs() const { return subgraphs_; }

  // Where it came from, for messages and reports: the names of the model's nodes.
  std::string name;

 private:
  friend class Graph;
  const OpDef* op_ = nullptr;
  Attrs attrs_;
  std::vector<Value*> inputs_;
  std::vector<Value*> outputs_;
  std::vector<std::unique_ptr<Graph>> subgraphs_;
  Graph* graph_ = nullptr;
  std::list<std::unique_ptr<Node>>::iterator position_;
};

// A directed acyclic graph of nodes in an order in which they can run. Subgraphs (of if, loop,
// scan) may read values of the graphs around them. Not thread-safe.
class Graph {
 public:
  using NodeList = std::list<std::unique_ptr<Node>>;

  explicit Graph(const OpRegistry& registry, std::string name = "main");
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  const OpRegistry& registry() const { return *registry_; }
  std::string name;
  Node* owner = nullptr;  // the node whose subgraph this is

  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Value*>& outputs() const { return outputs_; }
  const std::vector<std::string>& output_names() const { return output_names_; }
  const NodeList& nodes() const { return nodes_; }
  size_t num_nodes() const { return nodes_.size(); }
  // The nodes as they are now; safe while the list changes (skip those that were erased).
  std::vector<Node*> node_snapshot() const;

  Value* add_input(Type type, std::string name);
  // `name` is the name a caller fetches it by; the value keeps its own.
  void add_output(Value* value, std::string name);
  void set_output(size_t i, Value* value);
  Value* add_constant(Tensor tensor, std::string name = "");

  // Adds a node before `before` (at the end when null) and infers its output types. Operands may be
  // null (absent). On an error the graph is unchanged. Ops with subgraphs go through add_raw_node,
  // then fill their subgraphs, then infer.
  Result<Node*> add_node(std::string_view op, std::vector<Value*> inputs, Attrs attrs = {},
                         size_t num_outputs = 1, Node* before = nullptr, std::string name = "");
  template <class A>
  Result<Node*> add_node(std::string_view op, std::vector<Value*> inputs, A attrs,
                         size_t num_outputs = 1, Node* before = nullptr, std::string name = "") {
    return add_node(op, std::move(inputs), Attrs::of(std::move(attrs)), num_outputs, before,
                    std::move(name));
  }
  Node* add_raw_node(const OpDef& op, std::vector<Value*> inputs, Attrs attrs, size_t num_outputs,
                     Node* before = nullptr, std::string name = "");
  Graph* add_subgraph(Node* node, std::string name);
  // Runs the op's shape rule and stores types and contents on the outputs; a rule that knows less
  // than what is stored does not erase it.
  Status infer(Node* node);

  // All readers of `from`, in this graph and its subgraphs, read `to` instead. The two are the same
  // value, so a size that was a symbol of its own in `from` becomes, everywhere, what `to` says.
  void replace_uses(Value* from, Value* to);
  // Moves what a subgraph of the node does to before the node, its inputs replaced by `arguments`.
  // Gives the subgraph's outputs; the subgraph is then empty and the node fit only to be erased.
  std::vector<Value*> inline_subgraph(Node* node, size_t index,
                                      const std::vector<Value*>& arguments);
  // The outputs of the node must be unread.
  void erase(Node* node);
  // Those behind it move up. An input, or a node's output, must be unread.
  void erase_input(size_t i);
  void erase_output(size_t i);
  void erase_output(Node* node, size_t i);
  void move_before(Node* node, Node* before);
  // Removes nodes whose outputs nobody reads, and constants likewise. Returns how many nodes went.
  size_t erase_dead();

  // A symbol that no other value of the outermost graph uses.
  Dim fresh_symbol(std::string_view hint);
  // Keeps fresh_symbol from ever making this name, which came from outside.
  void reserve_symbol(std::string_view symbol);
  Graph& outermost();

  // Each node of this graph and of all its subgraphs, outer before inner.
  void for_each_node(const std::function<void(Node*)>& fn) const;

  std::unique_ptr<Graph> clone() const;  // of an outermost graph; constants share their storage

 private:
  friend class Node;
  using SymbolMap = std::map<std::string, Dim, std::less<>>;
  Value* new_value(Type type, std::string name);
  void learn_sizes(const Type& before, const Type& after);
  void substitute_symbols(const SymbolMap& symbols);
  void erase_from(std::vector<Value*>& values, size_t i);
  static void add_use(Value* value, Use use);
  static void remove_use(Value* value, Use use);
  using ValueMap = std::unordered_map<const Value*, Value*>;
  void clone_into(Graph& to, ValueMap& map) const;

  const OpRegistry* registry_;
  std::vector<Value*> inputs_;
  std::vector<Value*> outputs_;
  std::vector<std::string> output_names_;
  std::unordered_map<const Value*, std::unique_ptr<Value>> values_;
  NodeList nodes_;
  int next_symbol_ = 0;
};

}  // namespace redline
