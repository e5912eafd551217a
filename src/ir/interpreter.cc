// SPDX-License-Identifier: Apache-2.0
#include "ir/interpreter.h"

#include <unordered_map>

#include "ops/elements.h"
#include "ops/random_tensor.h"

namespace redline {
namespace {

constexpr int64_t kDefaultSymbolValue = 3;

void collect_reads(const Node& node, std::vector<const Value*>& reads) {
  for (const Value* input : node.inputs()) {
    if (input != nullptr) reads.push_back(input);
  }
  for (const auto& subgraph : node.subgraphs()) {
    for (const auto& inner : subgraph->nodes()) collect_reads(*inner, reads);
    for (const Value* output : subgraph->outputs()) reads.push_back(output);
  }
}

// The values of one run of one graph; a subgraph looks into those around it.
class Frame {
 public:
  Frame(const Graph& graph, const Frame* outer, const ValueObserver& observer)
      : graph_(graph), outer_(outer), observer_(observer) {
    if (outer != nullptr) symbols_ = outer->symbols_;
  }

  Result<std::vector<HostValue>> run(std::span<const HostValue> inputs) {
    if (inputs.size() != graph_.inputs().size()) {
      return invalid_argument("graph '", graph_.name, "' has ", graph_.inputs().size(), " inputs, ",
                              inputs.size(), " are given");
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      values_[graph_.inputs()[i]] = inputs[i];
      if (outer_ == nullptr) bind_symbols(graph_.inputs()[i]->type, inputs[i]);
    }
    std::unordered_map<const Value*, const Node*> last_reader;
    std::vector<const Value*> reads;
    for (const auto& node : graph_.nodes()) {
      reads.clear();
      collect_reads(*node, reads);
      for (const Value* value : reads) last_reader[value] = node.get();
    }
    for (const Value* output : graph_.outputs()) last_reader[output] = nullptr;
    for (const auto& node : graph_.nodes()) {
      Status status = run_node(*node);
      if (!status.ok()) {
        return node->name.empty()
                   ? status
                   : status.with_context("node '" + node->name + "'").at_node(node->name);
      }
      reads.clear();
      collect_reads(*node, reads);
      for (const Value* value : reads) {
        if (last_reader[value] == node.get()) values_.erase(value);
      }
    }
    std::vector<HostValue> results;
    for (const Value* output : graph_.outputs()) {
      REDLINE_ASSIGN(const HostValue* value, find(output));
      results.push_back(*value);
    }
    return results;
  }

 private:
  Result<const HostValue*> find(const Value* value) const {
    for (const Frame* frame = this; frame != nullptr; frame = frame->outer_) {
      auto it = frame->values_.find(value);
      if (it != frame->values_.end()) return &it->second;
    }
    if (!value->is_constant()) return internal_error("%", value->name, " has no value");
    HostValue& copy = constants_[value];
    copy = HostValue::of(value->constant);
    return &copy;
  }

  // Sizes of the outermost inputs that are symbols by themselves.
  void bind_symbols(const Type& type, const HostValue& value) {
    if (!type.is_tensor() || !type.shape.has_rank()) return;
    if (value.tensor.rank() != type.shape.rank()) return;
    for (int i = 0; i < type.shape.rank(); ++i) {
      const Dim& dim = type.shape[i];
      if (dim.is_symbol()) {
        symbols_.emplace(dim.symbol_name(), value.tensor.dims()[static_cast<size_t>(i)]);
      }
    }
  }

  // The attributes with numbers for symbolic sizes.
  Result<Attrs> evaluated(const Node& node) const {
    AttrMap map = node.attrs().map(true);
    bool symbolic = false;
    auto lookup = [&](std::string_view name) -> std::optional<int64_t> {
      auto it = symbols_.find(name);
      return it == symbols_.end() ? std::nullopt : std::optional(it->second);
    };
    for (NamedAttr& attr : map) {
      auto* dims = std::get_if<SymDims>(&attr.value);
      if (dims == nullptr) continue;
      for (Dim& dim : *dims) {
        if (dim.is_const()) continue;
        symbolic = true;
        REDLINE_ASSIGN(int64_t size, dim.evaluate(lookup));
        dim = size;
      }
    }
    if (!symbolic) return node.attrs();
    // Null tensors and bodies are defaults, which cannot be loaded.
    AttrMap set = node.attrs().map();
    for (NamedAttr& attr : set) {
      for (NamedAttr& with : map) {
        if (with.name == attr.name) attr.value = with.value;
      }
    }
    return Attrs::load(node.op().attrs, set);
  }

  Status run_node(const Node& node) {
    std::vector<const HostValue*> inputs;
    std::vector<const Type*> types;
    for (const Value* value : node.inputs()) {
      types.push_back(value == nullptr ? nullptr : &value->type);
      const HostValue* input = nullptr;
      if (value != nullptr) {
        REDLINE_ASSIGN(input, find(value));
      }
      inputs.push_back(input);
    }
    RunSubgraph run = [&](size_t index, std::span<const HostValue> arguments) {
      return Frame(*node.subgraphs()[index], this, observer_).run(arguments);
    };
    REDLINE_ASSIGN(Attrs attrs, evaluated(node));
    // Stored types hold for every run.
    auto infer = [&](size_t index, std::span<const Type>) -> Result<std::vector<Type>> {
      std::vector<Type> results;
      for (const Value* output : node.subgraphs()[index]->outputs())
        results.push_back(output->type);
      return results;
    };
    REDLINE_ASSIGN(std::vector<HostValue> results,
                   run_reference(node.op(), attrs, inputs, node.num_outputs(), run, infer, types));
    constants_.clear();
    for (size_t i = 0; i < results.size(); ++i) {
      const Value* output = node.output(i);
      bool unset = results[i].kind == HostValue::Kind::kTensor && !results[i].tensor.defined();
      if (unset && output->uses.empty()) continue;
      if (unset) return internal_error(node.op().name, " did not set output ", i);
      if (observer_) observer_(*output, results[i]);
      values_[output] = std::move(results[i]);
    }
    return {};
  }

  const Graph& graph_;
  const Frame* outer_;
  const ValueObserver& observer_;
  SymbolValues symbols_;
  std::unordered_map<const Value*, HostValue> values_;
  mutable std::unordered_map<const Value*, HostValue> constants_;  // of the node that runs
};

Result<HostValue> random_value(const Type& type, const Dim::Lookup& lookup, uint64_t seed) {
  if (!type.is_tensor()) {
    std::vector<HostValue> elements;
    int count = type.kind == Type::Kind::kSequence ? 2 : 1;
    for (int i = 0; i < count; ++i) {
      REDLINE_ASSIGN(HostValue element,
                     random_value(*type.element, lookup, seed * 31 + static_cast<uint64_t>(i)));
      elements.push_back(std::move(element));
    }
    return type.kind == Type::Kind::kSequence ? HostValue::sequence(std::move(elements))
                                              : HostValue::optional(std::move(elements));
  }
  Dims dims = type.shape.has_rank() ? Dims{} : Dims{kDefaultSymbolValue};
  if (type.shape.has_rank()) {
    if (type.shape.rank() > kMaxRank) return unsupported("rank over ", kMaxRank);
    for (const Dim& dim : type.shape.dims()) {
      REDLINE_ASSIGN(int64_t size, dim.evaluate(lookup));
      dims.push_back(size);
    }
  }
  REDLINE_ASSIGN(Tensor tensor, random_tensor(type.dtype, dims, seed));
  if (is_int(type.dtype)) {
    std::vector<int64_t> values = read_ints(tensor.view());
    for (int64_t& v : values) v = v & 1;
    write_elements(values, tensor.view());
  }
  return HostValue::of(std::move(tensor));
}

}  // namespace

Result<std::vector<HostValue>> interpret(const Graph& graph, std::span<const HostValue> inputs) {
  return interpret(graph, inputs, {});
}

Result<std::vector<HostValue>> interpret(const Graph& graph, std::span<const HostValue> inputs,
                                         const ValueObserver& observer) {
  for (size_t i = 0; i < inputs.size() && i < graph.inputs().size(); ++i) {
    const Type& type = graph.inputs()[i]->type;
    Type given = type_of(inputs[i]);
    if (type.kind != given.kind || (type.is_tensor() && type.dtype != given.dtype)) {
      return invalid_argument("input '", graph.inputs()[i]->name, "' is ", given.to_string(),
                              ", expected ", type.to_string());
    }
  }
  return Frame(graph, nullptr, observer).run(inputs);
}

Result<std::vector<HostValue>> random_inputs(const Graph& graph, const SymbolValues& symbols,
                                             uint64_t seed) {
  auto lookup = [&](std::string_view name) -> std::optional<int64_t> {
    auto it = symbols.find(name);
    return it == symbols.end() ? kDefaultSymbolValue : it->second;
  };
  std::vector<HostValue> result;
  for (const Value* input : graph.inputs()) {
    Result<HostValue> value = random_value(input->type, lookup, seed + result.size());
    if (!value.ok()) return value.status().with_context("input '" + input->name + "'");
    result.push_back(*std::move(value));
  }
  return result;
}

}  // namespace redline
