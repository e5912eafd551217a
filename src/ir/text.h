// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "ir/graph.h"

namespace redline {

// The IR's text form. Printing, parsing and printing again gives the same text.
//
//   graph main(%x: f32[batch,3,224,224], %s: seq(f32[*])) {
//     %w: f32[2] = const [0.5, 2.0]
//     %1: f32[batch,64,112,112] = conv(%x, %w, _) {strides=[2, 2]} @"Conv_0"
//     %a: f32[2], %b: i64[3] <batch, 12, seq> = some_op(%1)
//     %c: f32[*] = if(%cond) then_branch() {
//       return %1
//     } else_branch() {
//       return %x
//     }
//     return %1 as "output", %b
//   }
//
// `_` is an absent operand, `<...>` the elements of an integer tensor as far as shape arithmetic
// tells them, `@"..."` the node's name in the model. A constant is a list of its elements, hex
// "..." of its bytes (sub-byte types take a byte each), strings("a", "b"), and on input also
// `splat v` or `random seed`. A name that is not [A-Za-z0-9_.]+ is quoted: %"a b". `//` and `#`
// begin comments. On input the types of results may be left out.

struct PrintOptions {
  // For people: larger constants become `const elided`, which cannot be parsed.
  bool elide_constants = false;
};
std::string print_graph(const Graph& graph, const PrintOptions& options = {});
// "%1: f32[2] = relu(%x)" with names as they are, for messages; subgraphs are not printed.
std::string print_node(const Node& node);

// Reads the text form; safe on any text. Each node's shape rule runs: a stated type may say more
// than the rule, but not contradict it. Errors begin with line:column.
Result<std::unique_ptr<Graph>> parse_graph(const OpRegistry& registry, std::string_view text);

// "f32[batch,3]", "seq(f32[*])".
Result<Type> parse_type(std::string_view text);
// "{group=2, strides=[1, 1]}"; "" is no attributes. Bodies name ops of the registry.
Result<AttrMap> parse_attr_map(const OpRegistry& registry, std::string_view text);

}  // namespace redline
