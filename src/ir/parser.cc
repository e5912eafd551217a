// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <set>
#include <unordered_map>

#include "ir/text.h"
#include "ir/text_reader.h"

namespace redline {
namespace {

// A loop's rule infers its body several times, so the work grows with a power of the depth.
constexpr int kMaxGraphDepth = 8;

struct Definition {
  size_t position = 0;
  std::string name;
  std::optional<Type> type;
  std::optional<SymDims> contents;
};

// What the text states where the rule left it open, what the rule told elsewhere; none when the
// two contradict.
std::optional<Dim> merge(const Dim& stated, const Dim& inferred) {
  if (stated.is_const() && inferred.is_const() && stated != inferred) return std::nullopt;
  return inferred.is_const() ? inferred : stated;
}

std::optional<SymDims> merge(const SymDims& stated, const SymDims& inferred) {
  if (stated.size() != inferred.size()) return std::nullopt;
  SymDims result;
  for (size_t i = 0; i < stated.size(); ++i) {
    std::optional<Dim> dim = merge(stated[i], inferred[i]);
    if (!dim) return std::nullopt;
    result.push_back(*std::move(dim));
  }
  return result;
}

std::optional<Type> merge(const Type& stated, const Type& inferred) {
  if (stated.kind != inferred.kind) return std::nullopt;
  if (!stated.is_tensor()) {
    std::optional<Type> element = merge(*stated.element, *inferred.element);
    if (!element) return std::nullopt;
    return stated.kind == Type::Kind::kSequence ? Type::sequence(*std::move(element))
                                                : Type::optional(*std::move(element));
  }
  if (stated.dtype != inferred.dtype) return std::nullopt;
  if (!stated.shape.has_rank()) return inferred;
  if (!inferred.shape.has_rank()) return stated;
  std::optional<SymDims> dims = merge(stated.shape.dims(), inferred.shape.dims());
  if (!dims) return std::nullopt;
  return Type::tensor(stated.dtype, *std::move(dims));
}

class Parser {
 public:
  Parser(const OpRegistry& registry, std::string_view text)
      : registry_(registry), reader_(registry, text) {}

  Result<std::unique_ptr<Graph>> parse() {
    auto graph = std::make_unique<Graph>(registry_);
    REDLINE_TRY(reader_.expect("graph"));
    REDLINE_ASSIGN(graph->name, reader_.read_word_or_quoted("the graph's name"));
    REDLINE_TRY(parse_graph(*graph, 0));
    if (!reader_.at_end()) return reader_.error("expected the end after the graph");
    return graph;
  }

 private:
  void reserve_symbols(Graph& graph, const SymDims& dims) {
    for (const Dim& dim : dims) {
      if (dim.is_const()) continue;
      for (const std::string& symbol : dim.symbols()) graph.reserve_symbol(symbol);
    }
  }

  void reserve_symbols(Graph& graph, const Type& type) {
    if (!type.is_tensor()) {
      reserve_symbols(graph, *type.element);
    } else if (type.shape.has_rank()) {
      reserve_symbols(graph, type.shape.dims());
    }
  }

  Result<Definition> parse_definition(Graph& graph, bool needs_type) {
    REDLINE_TRY(reader_.expect("%"));
    Definition result;
    result.position = reader_.position() - 1;
    REDLINE_ASSIGN(result.name, reader_.read_word_or_quoted("a name"));
    if (needs_type && !reader_.next_is(":")) return reader_.error("expected ':' and a type");
    if (reader_.accept(":")) {
      REDLINE_ASSIGN(result.type, reader_.read_type());
      reserve_symbols(graph, *result.type);
    }
    if (reader_.accept("<")) {
      REDLINE_ASSIGN(result.contents, reader_.read_dims('>'));
      reserve_symbols(graph, *result.contents);
    }
    return result;
  }

  Status define(const Definition& definition, Value* value) {
    if (!values_.emplace(definition.name, value).second) {
      return reader_.error_at(definition.position,
                              str_cat("the name %", definition.name, " is defined twice"));
    }
    value->name = definition.name;
    scope_.push_back(definition.name);
    return {};
  }

  // Null is the absent operand.
  Result<Value*> parse_reference() {
    if (reader_.accept("_")) return nullptr;
    if (!reader_.accept("%")) return reader_.error("expected a value (%name) or _");
    size_t position = reader_.position() - 1;
    REDLINE_ASSIGN(std::string name, reader_.read_word_or_quoted("a name"));
    auto it = values_.find(name);
    if (it == values_.end()) {
      return reader_.error_at(position, str_cat("%", name, " is not defined before this"));
    }
    return it->second;
  }

  Status check_contents(const Definition& definition, const Type& type) {
    if (!definition.contents) return {};
    bool integer = type.is_tensor() && (is_int(type.dtype) || type.dtype == DType::kBool);
    std::optional<Dim> count = integer ? type.shape.count() : std::nullopt;
    if (!integer || !count || *count != Dim(static_cast<int64_t>(definition.contents->size()))) {
      return reader_.error_at(definition.position,
                              str_cat("%", definition.name, ": ", definition.contents->size(),
                                      " known elements do not fit the type ", type.to_string()));
    }
    return {};
  }

  Status parse_graph(Graph& graph, int depth) {
    size_t scope_begin = scope_.size();
    REDLINE_TRY(reader_.expect("("));
    if (!reader_.accept(")")) {
      do {
        REDLINE_ASSIGN(Definition definition, parse_definition(graph, true));
        REDLINE_TRY(check_contents(definition, *definition.type));
        Value* input = graph.add_input(*definition.type, definition.name);
        input->contents = definition.contents;
        REDLINE_TRY(define(definition, input));
      } while (reader_.accept(","));
      if (!reader_.accept(")")) return reader_.error("expected ',' or ')' after an input");
    }
    REDLINE_TRY(reader_.expect("{"));
    while (!reader_.accept("return")) REDLINE_TRY(parse_statement(graph, depth));
    if (!reader_.accept("}")) {
      do {
        REDLINE_ASSIGN(Value * value, parse_reference());
        if (value == nullptr) return reader_.error("an output cannot be absent");
        std::string name = value->name;
        if (reader_.accept("as")) {
          REDLINE_ASSIGN(name, reader_.read_quoted("an output's name"));
        }
        graph.add_output(value, std::move(name));
      } while (reader_.accept(","));
      if (!reader_.accept("}")) return reader_.error("expected ',' or '}' after an output");
    }
    // Names end with the graph that defines them.
    for (; scope_.size() > scope_begin; scope_.pop_back()) {
      if (depth > 0) values_.erase(scope_.back());
    }
    return {};
  }

  Status parse_constant(Graph& graph, const std::vector<Definition>& definitions) {
    if (definitions.size() != 1) return reader_.error("expected one result of const");
    const Definition& definition = definitions[0];
    std::optional<Dims> dims;
    if (definition.type && definition.type->is_tensor()) dims = definition.type->shape.as_static();
    if (!dims) {
      return reader_.error_at(definition.position,
                              "expected a constant's type, with sizes that are numbers");
    }
    REDLINE_TRY(check_contents(definition, *definition.type));
    REDLINE_ASSIGN(Tensor tensor, reader_.read_elements_of(definition.type->dtype, *dims));
    Value* value = graph.add_constant(std::move(tensor), definition.name);
    value->contents = definition.contents;
    return define(definition, value);
  }

  Status parse_statement(Graph& graph, int depth) {
    std::vector<Definition> definitions;
    if (reader_.next_is("%")) {
      do {
        REDLINE_ASSIGN(Definition definition, parse_definition(graph, false));
        definitions.push_back(std::move(definition));
      } while (reader_.accept(","));
      REDLINE_TRY(reader_.expect("="));
      if (reader_.accept("const")) return parse_constant(graph, definitions);
    }
    reader_.at_end();
    size_t position = reader_.position();
    REDLINE_ASSIGN(std::string op_name, reader_.read_word("an op, a value or 'return'"));
    const OpDef* op = registry_.find(op_name);
    if (op == nullptr) return reader_.error_at(position, str_cat("no op is named '", op_name, "'"));
    REDLINE_TRY(reader_.expect("("));
    std::vector<Value*> operands;
    if (!reader_.accept(")")) {
      do {
        REDLINE_ASSIGN(Value * operand, parse_reference());
        operands.push_back(operand);
      } while (reader_.accept(","));
      if (!reader_.accept(")")) return reader_.error("expected ',' or ')' after an operand");
    }
    REDLINE_ASSIGN(AttrMap map, reader_.read_attr_map());
    Result<Attrs> attrs = Attrs::load(op->attrs, map);
    if (!attrs.ok()) {
      return reader_.error_at(position, str_cat(op_name, ": ", attrs.status().message()));
    }
    std::string node_name;
    if (reader_.accept("@")) {
      REDLINE_ASSIGN(node_name, reader_.read_quoted("the node's name"));
    }
    Node* node = graph.add_raw_node(*op, std::move(operands), *std::move(attrs), definitions.size(),
                                    nullptr, std::move(node_name));
    for (int i = 0; i < op->num_subgraphs; ++i) {
      if (depth + 1 >= kMaxGraphDepth) return reader_.error("graphs nest too deeply");
      REDLINE_ASSIGN(std::string name,
                     reader_.read_word_or_quoted(str_cat("subgraph ", i, " of ", op_name)));
      REDLINE_TRY(parse_graph(*graph.add_subgraph(node, std::move(name)), depth + 1));
    }
    // Not the types: from those the graph would learn that two names are one size, and what was
    // read before would no longer be what the text states.
    for (size_t i = 0; i < definitions.size(); ++i) {
      node->output(i)->contents = definitions[i].contents;
    }
    Status status = graph.infer(node);
    if (!status.ok()) return reader_.error_at(position, status.message());
    for (size_t i = 0; i < definitions.size(); ++i) {
      REDLINE_TRY(apply_stated(definitions[i], *node->output(i)));
      REDLINE_TRY(define(definitions[i], node->output(i)));
    }
    return {};
  }

  Status apply_stated(const Definition& definition, Value& value) {
    if (definition.type) {
      std::optional<Type> type = merge(*definition.type, value.type);
      if (!type) {
        return reader_.error_at(
            definition.position,
            str_cat("%", definition.name, " is stated as ", definition.type->to_string(),
                    ", but the op makes ", value.type.to_string()));
      }
      value.type = *std::move(type);
    }
    if (!definition.contents) return {};
    REDLINE_TRY(check_contents(definition, value.type));
    std::optional<SymDims> contents = merge(*definition.contents, *value.contents);
    if (!contents) {
      return reader_.error_at(
          definition.position,
          str_cat("%", definition.name, " is stated to hold ",
                  attr_to_string(AttrValue(*definition.contents)), ", but the op makes ",
                  attr_to_string(AttrValue(*value.contents))));
    }
    value.contents = *std::move(contents);
    return {};
  }

  const OpRegistry& registry_;
  TextReader reader_;
  std::unordered_map<std::string, Value*> values_;
  std::vector<std::string> scope_;
};

}  // namespace

Result<std::unique_ptr<Graph>> parse_graph(const OpRegistry& registry, std::string_view text) {
  return Parser(registry, text).parse();
}

Result<Type> parse_type(std::string_view text) {
  OpRegistry no_ops;  // types name none
  TextReader reader(no_ops, text);
  REDLINE_ASSIGN(Type type, reader.read_type());
  if (!reader.at_end()) return reader.error("expected the end after the type");
  return type;
}

Result<AttrMap> parse_attr_map(const OpRegistry& registry, std::string_view text) {
  TextReader reader(registry, text);
  REDLINE_ASSIGN(AttrMap map, reader.read_attr_map());
  if (!reader.at_end()) return reader.error("expected the end after the attributes");
  return map;
}

}  // namespace redline
