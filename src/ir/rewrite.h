// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/graph.h"

namespace redline {

// What passes ask about values, and patterns that make a fusion one readable function:
//
//   // 0.5 * x * (1 + erf(x / sqrt(2)))
//   static const Pattern kGelu =
//       made_by("mul", {made_by("mul", {any_value("x"), scalar(0.5)}),
//                       made_by("add", {made_by("erf", {made_by("div", {any_value("x"),
//                                                                       scalar(M_SQRT2)})}),
//                                       scalar(1)})});
//   if (std::optional<Match> m = match(node->output(), kGelu)) {
//     REDLINE_ASSIGN(Value* y, insert(*node, "gelu", {m->value("x")}));
//     replace(node, y);
//   }

// The node that makes the value, when it is of this op (and the value its first output).
Node* producer(const Value* value, std::string_view op);
// The same, when nothing else reads the value.
Node* sole_producer(const Value* value, std::string_view op);
// The only node that reads the value, when it is of this op.
Node* sole_user(const Value* value, std::string_view op);

// The element that all elements of a constant are equal to, as a double. None for strings.
std::optional<double> splat_constant(const Value* value);
// ... of a constant with one element, of any rank; integers beyond 2^53 are left out.
std::optional<double> scalar_constant(const Value* value);
bool is_scalar(const Value* value, double expected, double relative_tolerance = 1e-6);
// The elements of a small constant integer tensor, or of one whose contents are numbers.
std::optional<std::vector<int64_t>> constant_ints(const Value* value);
// All sizes as numbers.
std::optional<Dims> static_dims(const Value* value);
bool same_type(const Value* a, const Value* b);

// The other one of two operands.
Value* other_operand(const Node* node, const Value* one);

struct Match;

// A tree of ops to look for. Operands of commutative ops are tried in both orders. Immutable,
// cheap to copy; build it once.
class Pattern {
 public:
  // Further conditions on the node (of made_by) or on the value.
  Pattern where(std::function<bool(const Node&)> condition) const;
  Pattern where_value(std::function<bool(const Value&)> condition) const;
  // The value is remembered; a further occurrence of the name (same_value) must be the same value.
  Pattern named(std::string name) const;
  // Nodes outside the match may read it too.
  Pattern shared() const;

 private:
  friend struct PatternMatcher;
  friend Pattern any_value(std::string name);
  friend Pattern constant_value(std::string name);
  friend Pattern scalar(double value, double relative_tolerance);
  friend Pattern made_by(std::string op, std::vector<Pattern> inputs);
  friend Pattern made_by_any(std::vector<std::string> ops, std::vector<Pattern> inputs);
  friend Pattern absent();
  struct Rep;
  std::shared_ptr<const Rep> rep_;
};

// Any value; the same name is the same value wherever it stands in a pattern.
Pattern any_value(std::string name);
inline Pattern same_value(std::string name) { return any_value(std::move(name)); }
// A constant of the model.
Pattern constant_value(std::string name);
// A constant with one element of this value.
Pattern scalar(double value, double relative_tolerance = 1e-6);
// The first output of a node with these operands; further optional operands must be absent. Unless
// shared(), or the root, all its readers must belong to the match.
Pattern made_by(std::string op, std::vector<Pattern> inputs);
Pattern made_by_any(std::vector<std::string> ops, std::vector<Pattern> inputs);
// An optional operand that is not there.
Pattern absent();

struct Match {
  std::vector<std::pair<std::string, Value*>> values;
  std::vector<Node*> nodes;  // the root first

  // The value of a name of the pattern.
  Value* value(std::string_view name) const;
  // The node that makes it.
  Node* node(std::string_view name) const { return value(name)->producer; }
};

std::optional<Match> match(Value* root, const Pattern& pattern);

// Adds a node before `at`, named after it, and gives its first output.
Result<Value*> insert(Node* at, std::string_view op, std::vector<Value*> inputs, Attrs attrs = {},
                      size_t num_outputs = 1);
template <class A>
Result<Value*> insert(Node* at, std::string_view op, std::vector<Value*> inputs, A attrs,
                      size_t num_outputs = 1) {
  return insert(at, op, std::move(inputs), Attrs::of(std::move(attrs)), num_outputs);
}
// A constant with one value in all places.
Result<Value*> insert_constant(Graph& graph, DType dtype, const Dims& dims, double value);
// Readers of the node's first output read `with` instead, which takes over its name if it has none;
// the node is erased when nothing reads its other outputs.
void replace(Node* node, Value* with);

// Calls fn for the graph and all graphs inside it, outer before inner; true if any call was.
Result<bool> for_each_graph(Graph& graph, const std::function<Result<bool>(Graph&)>& fn);
// Calls fn for each node that is there when its turn comes, in all graphs; fn may erase the node it
// is given and nodes before it, and add nodes. True if any call was.
Result<bool> rewrite_nodes(Graph& graph, const std::function<Result<bool>(Node*)>& fn);
// The same; when any call was true, what nothing reads any more is erased at the end.
Result<bool> rewrite_and_sweep(Graph& graph, const std::function<Result<bool>(Node*)>& fn);

}  // namespace redline
