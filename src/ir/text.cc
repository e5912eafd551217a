// SPDX-License-Identifier: Apache-2.0
#include "ir/text.h"

#include <charconv>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "ops/elements.h"

namespace redline {
namespace {

// Constants of up to this many elements are printed as a list, if that reads back bit for bit.
constexpr int64_t kMaxListed = 16;

bool is_word(std::string_view text) {
  for (char c : text) {
    bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '.';
    if (!ok) return false;
  }
  return !text.empty();
}

std::string quoted(const std::string& text) { return attr_to_string(AttrValue(text)); }
std::string word_or_quoted(const std::string& text) { return is_word(text) ? text : quoted(text); }

std::string dims_to_string(const SymDims& dims) { return attr_to_string(AttrValue(dims)); }

// The shortest text that rounds to the same element.
std::string element_to_string(double v, DType dtype) {
  char buffer[64];
  auto narrow = static_cast<float>(v);
  auto end = dtype == DType::kFloat64 ? std::to_chars(buffer, buffer + sizeof buffer, v).ptr
                                      : std::to_chars(buffer, buffer + sizeof buffer, narrow).ptr;
  return std::string(buffer, end);
}

std::string hex_bytes(const Tensor& tensor) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text = "hex\"";
  auto* bytes = tensor.data<uint8_t>();
  text.reserve(2 * tensor.bytes() + 8);
  for (size_t i = 0; i < tensor.bytes(); ++i) {
    text += kHex[bytes[i] >> 4];
    text += kHex[bytes[i] & 15];
  }
  return text + "\"";
}

std::string constant_to_string(const Tensor& tensor, const PrintOptions& options) {
  DType dtype = tensor.dtype();
  int64_t count = tensor.count();
  if (options.elide_constants && count > kMaxListed) return "elided";
  std::string text;
  auto add = [&text](const std::string& item) { text += (text.empty() ? "" : ", ") + item; };
  if (dtype == DType::kString) {
    for (int64_t i = 0; i < count; ++i) add(quoted(tensor.data<std::string>()[i]));
    return "strings(" + text + ")";
  }
  if (count > kMaxListed) return hex_bytes(tensor);
  if (!is_float(dtype)) {
    with_wide_type(dtype, [&](auto wide) {
      for (auto v : read_elements<decltype(wide)>(tensor.view())) add(std::to_string(v));
    });
    return "[" + text + "]";
  }
  for (double v : read_elements<double>(tensor.view())) {
    if (std::isnan(v)) return hex_bytes(tensor);  // which NaN it is would be lost
    add(element_to_string(v, dtype));
  }
  return "[" + text + "]";
}

class Printer {
 public:
  Printer(const Graph& graph, const PrintOptions& options) : options_(options) {
    collect_names(graph);
  }

  std::string print(const Graph& graph) {
    text_ = "graph " + word_or_quoted(graph.name);
    print_graph(graph, 0);
    return std::move(text_) + "\n";
  }

 private:
  std::string indent(int depth) const { return std::string(static_cast<size_t>(2 * depth), ' '); }

  void collect_names(const Graph& graph) {
    auto collect = [this](const Value* value) {
      if (!value->name.empty()) hints_.insert(value->name);
    };
    for (const Value* input : graph.inputs()) collect(input);
    for (const Value* output : graph.outputs()) collect(output);
    for (const auto& node : graph.nodes()) {
      for (const Value* input : node->inputs()) {
        if (input != nullptr) collect(input);
      }
      for (const Value* output : node->outputs()) collect(output);
      for (const auto& subgraph : node->subgraphs()) collect_names(*subgraph);
    }
  }

  // The first value of a name has it as it is; others get a suffix that no value has.
  const std::string& name_of(const Value* value) {
    auto it = names_.find(value);
    if (it != names_.end()) return it->second;
    std::string name = value->name;
    if (name.empty()) {
      do {
        name = std::to_string(++unnamed_);
      } while (hints_.contains(name) || taken_.contains(name));
    } else if (taken_.contains(name)) {
      int& suffix = suffixes_[value->name];
      do {
        name = str_cat(value->name, "_", ++suffix);
      } while (hints_.contains(name) || taken_.contains(name));
    }
    taken_.insert(name);
    return names_.emplace(value, std::move(name)).first->second;
  }

  std::string reference(const Value* value) {
    return value == nullptr ? "_" : "%" + word_or_quoted(name_of(value));
  }

  std::string definition(const Value* value) {
    std::string text = reference(value) + ": " + value->type.to_string();
    if (value->contents) text += " " + dims_to_string(*value->contents);
    return text;
  }

  void print_constant(const Graph& graph, const Value* value, int depth) {
    if (value == nullptr || !value->is_constant() || value->graph != &graph) return;
    if (!printed_.insert(value).second) return;
    text_ += str_cat(indent(depth), definition(value), " = const ",
                     constant_to_string(value->constant, options_), "\n");
  }

  // The constants of `graph` that the node or anything inside it reads, before the node.
  void print_constants(const Graph& graph, const Node& node, int depth) {
    for (const Value* input : node.inputs()) print_constant(graph, input, depth);
    for (const auto& subgraph : node.subgraphs()) {
      for (const auto& inner : subgraph->nodes()) print_constants(graph, *inner, depth);
      for (const Value* output : subgraph->outputs()) print_constant(graph, output, depth);
    }
  }

  void print_node(const Node& node, int depth) {
    std::string results;
    std::string operands;
    for (const Value* value : node.inputs()) {
      operands += (operands.empty() ? "" : ", ") + reference(value);
    }
    for (const Value* value : node.outputs()) {
      results += (results.empty() ? "" : ", ") + definition(value);
    }
    text_ += str_cat(indent(depth), results, results.empty() ? "" : " = ", node.op().name, "(",
                     operands, ")");
    std::string attrs = node.attrs().to_string();
    if (!attrs.empty()) text_ += " " + attrs;
    if (!node.name.empty()) text_ += " @" + quoted(node.name);
    for (const auto& subgraph : node.subgraphs()) {
      text_ += " " + word_or_quoted(subgraph->name);
      print_graph(*subgraph, depth);
    }
    text_ += "\n";
  }

  void print_graph(const Graph& graph, int depth) {
    std::string inputs;
    for (const Value* input : graph.inputs()) {
      inputs += (inputs.empty() ? "" : ", ") + definition(input);
    }
    text_ += "(" + inputs + ") {\n";
    for (const auto& node : graph.nodes()) {
      print_constants(graph, *node, depth + 1);
      print_node(*node, depth + 1);
    }
    for (const Value* output : graph.outputs()) print_constant(graph, output, depth + 1);
    std::string outputs;
    for (size_t i = 0; i < graph.outputs().size(); ++i) {
      const Value* output = graph.outputs()[i];
      outputs += (i == 0 ? " " : ", ") + reference(output);
      if (graph.output_names()[i] != name_of(output)) {
        outputs += " as " + quoted(graph.output_names()[i]);
      }
    }
    text_ += str_cat(indent(depth + 1), "return", outputs, "\n", indent(depth), "}");
  }

  const PrintOptions& options_;
  std::string text_;
  std::unordered_set<std::string> hints_;  // every name that some value asks for
  std::unordered_set<std::string> taken_;
  std::unordered_map<std::string, int> suffixes_;
  std::unordered_map<const Value*, std::string> names_;
  std::unordered_set<const Value*> printed_;
  int unnamed_ = 0;
};

}  // namespace

std::string print_graph(const Graph& graph, const PrintOptions& options) {
  return Printer(graph, options).print(graph);
}

std::string print_node(const Node& node) {
  auto reference = [](const Value* value) {
    if (value == nullptr) return std::string("_");
    return "%" + (value->name.empty() ? std::string("?") : word_or_quoted(value->name)) + ": " +
           value->type.to_string();
  };
  auto list = [&](const std::vector<Value*>& values) {
    std::string text;
    for (const Value* value : values) text += (text.empty() ? "" : ", ") + reference(value);
    return text;
  };
  std::string attrs = node.attrs().to_string();
  return str_cat(list(node.outputs()), " = ", node.op().name, "(", list(node.inputs()), ")",
                 attrs.empty() ? "" : " ", attrs,
                 node.name.empty() ? "" : str_cat(" @", quoted(node.name)));
}

}  // namespace redline
