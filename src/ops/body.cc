// SPDX-License-Identifier: Apache-2.0
#include "ops/body.h"

#include <functional>

namespace redline {

bool operator==(const Body& a, const Body& b) {
  if (a.num_inputs != b.num_inputs || a.outputs != b.outputs || a.nodes.size() != b.nodes.size()) {
    return false;
  }
  for (size_t i = 0; i < a.nodes.size(); ++i) {
    const BodyNode& x = a.nodes[i];
    const BodyNode& y = b.nodes[i];
    if (x.op != y.op || x.inputs != y.inputs || x.num_outputs != y.num_outputs ||
        !(x.attrs == y.attrs)) {
      return false;
    }
  }
  return true;
}

uint64_t hash_body(const Body& body) { return std::hash<std::string>()(body_to_string(body)); }

std::string body_to_string(const Body& body) {
  auto list = [](const std::vector<int>& ids) {
    std::string text;
    for (int id : ids) text += (text.empty() ? "" : ", ") + (id < 0 ? "_" : std::to_string(id));
    return text;
  };
  std::string text = str_cat("{", body.num_inputs, " in");
  int next = body.num_inputs;
  for (const BodyNode& node : body.nodes) {
    std::vector<int> results;
    for (int i = 0; i < node.num_outputs; ++i) results.push_back(next++);
    text += str_cat("; ", list(results), " = ", node.op->name, "(", list(node.inputs), ")");
    std::string attrs = node.attrs.to_string();
    if (!attrs.empty()) text += " " + attrs;
  }
  return text + str_cat("; return ", list(body.outputs), "}");
}

}  // namespace redline
