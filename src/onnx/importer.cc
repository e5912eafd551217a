// SPDX-License-Identifier: Apache-2.0
#include "onnx/importer.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/mmap_file.h"
#include "onnx/model_proto.h"
#include "onnx/onnx_fields_generated.h"
#include "onnx/tensor_reader.h"

namespace redline {
namespace {

// Older forms of an op that differ from today's are refused by its rule (an attribute it does not
// know).
constexpr int kOldestOpset = 1;
constexpr int kMaxFunctionDepth = 64;
// Subgraphs in subgraphs, those that functions bring along included.
constexpr int kMaxGraphDepth = 32;
// Attributes are looked up one by one.
constexpr size_t kMaxAttributes = 1024;
// Functions that call functions can make any number of nodes out of a few.
constexpr size_t kMaxNodesPerStored = 32;
constexpr size_t kMaxNodesBeside = 20000;
constexpr size_t kMaxNearest = 200;
// A sparse tensor tells its dense size in a few bytes.
constexpr size_t kDenseBytesPerStored = 4;
constexpr size_t kDenseBytesBeside = size_t{64} << 20;

std::string qualified(std::string_view domain, std::string_view op_type) {
  return domain.empty() ? std::string(op_type) : str_cat(domain, ".", op_type);
}

std::string_view normal_domain(std::string_view domain) {
  return domain == "ai.onnx" ? "" : domain;
}

std::string node_label(const NodeProto& node) {
  if (!node.name.empty()) return std::string(node.name);
  for (std::string_view output : node.output) {
    if (!output.empty()) return str_cat("-> ", output);
  }
  return "unnamed";
}

// The names a piece of the model knows: of a graph, with the graph around it; or of a function's
// body.
struct Scope {
  Graph* graph = nullptr;
  Scope* parent = nullptr;
  std::unordered_map<std::string_view, Value*> values;
  // Made by a node that could not be imported: what depends on it is not reported again.
  std::unordered_set<std::string_view> missing;
  // In a function's body: inputs that the caller left out; an empty name to those that read them.
  std::unordered_set<std::string_view> absent;
  // In a function's body: the caller's attributes, by the function's names for them.
  const std::map<std::string_view, const AttributeProto*>* bindings = nullptr;
  const std::map<std::string_view, int64_t>* opsets = nullptr;
  int function_depth = 0;
  int graph_depth = 0;

  Value* find(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
      auto it = scope->values.find(name);
      if (it != scope->values.end()) return it->second;
    }
    return nullptr;
  }
  bool is_absent(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
      if (scope->absent.contains(name)) return true;
    }
    return false;
  }
  bool is_missing(std::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
      if (scope->missing.contains(name)) return true;
    }
    return false;
  }
};

size_t count_nodes(std::span<const NodeProto> nodes) {
  size_t count = nodes.size();
  for (const NodeProto& node : nodes) {
    for (const AttributeProto& a : node.attribute) {
      if (a.g) count += count_nodes(a.g->node);
      for (const GraphProto& g : a.graphs) count += count_nodes(g.node);
    }
  }
  return count;
}

class Importer {
 public:
  Importer(const ModelBytes& source, const ModelProto& model, const ImportRegistry& rules,
           OnnxExternalData& external, ImportReport& report)
      : source_(source), rules_(rules), external_(external), report_(report) {
    size_t stored = count_nodes(model.graph->node);
    for (const FunctionProto& function : model.functions) {
      functions_[{function.domain == "ai.onnx" ? "" : function.domain, function.name,
                  function.overload}] = &function;
      stored += count_nodes(function.node);
    }
    max_nodes_ = stored * kMaxNodesPerStored + kMaxNodesBeside;
  }

  Status import_graph(const GraphProto& proto, Scope& scope, std::span<const Type> input_types);
  Status import_nodes(std::span<const NodeProto> nodes, Scope& scope);
  void import_node(const NodeProto& node, Scope& scope);
  Result<Tensor> tensor(const TensorProto& proto) {
    return read_onnx_tensor(proto, source_.owner, external_);
  }
  Result<Tensor> sparse_tensor(const SparseTensorProto& proto) {
    return read_onnx_sparse_tensor(proto, source_.owner, external_,
                                   source_.bytes.size() * kDenseBytesPerStored + kDenseBytesBeside);
  }
  Result<Type> type(const TypeProto& proto, Graph& graph, std::string_view name);
  const AttributeProto* attribute(const NodeProto& node, const Scope& scope, std::string_view name);
  size_t num_nodes() const { return num_nodes_; }

 private:
  Status import_sparse(const SparseTensorProto& proto, Scope& scope);
  Result<std::vector<const NodeProto*>> sorted(std::span<const NodeProto> nodes,
                                               const Scope& scope);
  Status import_function(const FunctionProto& function, const NodeProto& node, Scope& scope);
  Status run_rule(const ImportRule& rule, const NodeProto& node, Scope& scope, int opset);
  ImportReport::OpCount& count_op(const std::string& op);

  const ModelBytes& source_;
  const ImportRegistry& rules_;
  OnnxExternalData& external_;
  ImportReport& report_;
  // By domain, name and overload.
  std::map<std::array<std::string_view, 3>, const FunctionProto*> functions_;
  std::unordered_map<std::string, size_t> op_index_;  // into report_.ops
  size_t num_nodes_ = 0;
  size_t max_nodes_ = 0;
};

// The view of one node that its rule works with.
class NodeImport final : public ImportContext {
 public:
  NodeImport(Importer& importer, const NodeProto& node, Scope& scope, int opset)
      : importer_(importer),
        node_(node),
        scope_(scope),
        opset_(opset),
        outputs_(count_outputs(node)) {
    size_t count = node.input.size();
    while (count > 0 && node.input[count - 1].empty()) --count;
    for (size_t i = 0; i < count; ++i) {
      inputs_.push_back(node.input[i].empty() ? nullptr : scope.find(node.input[i]));
    }
  }

  std::string_view op_type() const override { return node_.op_type; }
  std::string_view node_name() const override { return node_.name; }
  int opset() const override { return opset_; }
  Graph& graph() override { return *scope_.graph; }
  size_t num_inputs() const override { return inputs_.size(); }
  Value* input(size_t i) const override { return i < inputs_.size() ? inputs_[i] : nullptr; }
  size_t num_outputs() const override { return outputs_.size(); }
  bool wants_output(size_t i) const override {
    return i < node_.output.size() && !node_.output[i].empty();
  }

  Value* find_value(std::string_view name) const override { return scope_.find(name); }

  bool has_attr(std::string_view name) const override { return find(name) != nullptr; }
  int64_t int_attr(std::string_view name, int64_t fallback) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_INT);
    return a ? a->i.value_or(0) : fallback;
  }
  float float_attr(std::string_view name, float fallback) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_FLOAT);
    return a ? a->f.value_or(0) : fallback;
  }
  std::string string_attr(std::string_view name, std::string_view fallback) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_STRING);
    return std::string(a ? a->s.value_or("") : fallback);
  }
  std::vector<int64_t> ints_attr(std::string_view name) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_INTS);
    return a ? a->ints : std::vector<int64_t>();
  }
  std::vector<float> floats_attr(std::string_view name) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_FLOATS);
    return a ? a->floats : std::vector<float>();
  }
  std::vector<std::string> strings_attr(std::string_view name) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_STRINGS);
    if (a == nullptr) return {};
    return {a->strings.begin(), a->strings.end()};
  }
  // A sparse one is made dense.
  Tensor tensor_attr(std::string_view name) override {
    const AttributeProto* a = find(name);
    bool sparse = a != nullptr && a->sparse_tensor != nullptr && a->t == nullptr;
    a = typed(name, sparse ? kAttributeProto_AttributeType_SPARSE_TENSOR
                           : kAttributeProto_AttributeType_TENSOR);
    if (a == nullptr || (!sparse && a->t == nullptr)) return {};
    Result<Tensor> tensor =
        sparse ? importer_.sparse_tensor(*a->sparse_tensor) : importer_.tensor(*a->t);
    if (!tensor.ok()) {
      remember(tensor.status().with_context(str_cat("attribute '", name, "'")));
      return {};
    }
    return *tensor;
  }
  DType dtype_attr(std::string_view name, DType fallback) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_INT);
    if (a == nullptr) return fallback;
    Result<DType> dtype = dtype_from_onnx(static_cast<int32_t>(a->i.value_or(0)));
    if (!dtype.ok()) {
      remember(dtype.status().with_context(str_cat("attribute '", name, "'")));
      return fallback;
    }
    return *dtype;
  }
  Result<Type> type_attr(std::string_view name) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_TYPE_PROTO);
    if (a == nullptr || a->tp == nullptr)
      return invalid_argument("attribute '", name, "' is missing");
    return importer_.type(*a->tp, *scope_.graph, name);
  }

  Result<Attrs> load_attrs(
      const AttrsType* type,
      std::initializer_list<std::pair<std::string_view, std::string_view>> renames,
      std::initializer_list<std::string_view> ignore) override {
    AttrMap map;
    for (const AttributeProto& own : node_.attribute) {
      const AttributeProto* a = find(own.name);
      if (a == nullptr) continue;  // a reference that the caller of the function left out
      if (std::find(ignore.begin(), ignore.end(), own.name) != ignore.end()) continue;
      std::string_view name = own.name;
      for (const auto& [from, to] : renames) {
        if (own.name == from) name = to;
      }
      REDLINE_ASSIGN(AttrValue value, to_value(*a));
      map.push_back({std::string(name), std::move(value)});
    }
    return Attrs::load(type, map);
  }

  Result<Node*> emit_node(std::string_view op, std::vector<Value*> inputs, Attrs attrs,
                          size_t num_outputs) override {
    return graph().add_node(
        op, std::move(inputs), std::move(attrs), num_outputs, nullptr,
        std::string(node_.name.empty() && !node_.output.empty() ? node_.output[0] : node_.name));
  }

  void set_output(size_t i, Value* value) override {
    if (i < outputs_.size()) outputs_[i] = value;
  }

  Status import_subgraph(std::string_view name, Graph* into,
                         std::span<const Type> input_types) override {
    const AttributeProto* a = typed(name, kAttributeProto_AttributeType_GRAPH);
    if (a == nullptr || a->g == nullptr)
      return invalid_argument("attribute '", name, "' is missing");
    if (scope_.graph_depth >= kMaxGraphDepth) {
      return invalid_argument("subgraphs nest deeper than ", kMaxGraphDepth);
    }
    Scope inner;
    inner.graph = into;
    inner.parent = &scope_;
    inner.graph_depth = scope_.graph_depth + 1;
    inner.bindings = scope_.bindings;
    inner.opsets = scope_.opsets;
    inner.function_depth = scope_.function_depth;
    return importer_.import_graph(*a->g, inner, input_types);
  }

  Status finish() {
    REDLINE_TRY(status_);
    for (size_t i = 0; i < outputs_.size(); ++i) {
      if (!wants_output(i)) continue;
      if (outputs_[i] == nullptr) return unsupported("output ", i, " is not computed");
      if (outputs_[i]->name.empty()) outputs_[i]->name = std::string(node_.output[i]);
      scope_.values[node_.output[i]] = outputs_[i];
    }
    return {};
  }

 private:
  static size_t count_outputs(const NodeProto& node) {
    size_t count = node.output.size();
    while (count > 0 && node.output[count - 1].empty()) --count;
    return count;
  }

  const AttributeProto* find(std::string_view name) const {
    return importer_.attribute(node_, scope_, name);
  }
  void remember(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const AttributeProto* typed(std::string_view name, int32_t type) {
    const AttributeProto* a = find(name);
    if (a == nullptr || a->type == type || a->type == 0) return a;
    remember(invalid_argument("attribute '", name, "' has type ", a->type, ", expected ", type,
                              " (AttributeProto.AttributeType)"));
    return nullptr;
  }

  Result<AttrValue> to_value(const AttributeProto& a) {
    int32_t type = a.type;
    if (type == 0) {  // IR version 1 did not state it
      if (a.f) type = kAttributeProto_AttributeType_FLOAT;
      if (a.i) type = kAttributeProto_AttributeType_INT;
      if (a.s) type = kAttributeProto_AttributeType_STRING;
      if (a.t) type = kAttributeProto_AttributeType_TENSOR;
      if (!a.floats.empty()) type = kAttributeProto_AttributeType_FLOATS;
      if (!a.ints.empty()) type = kAttributeProto_AttributeType_INTS;
      if (!a.strings.empty()) type = kAttributeProto_AttributeType_STRINGS;
    }
    switch (type) {
      case kAttributeProto_AttributeType_FLOAT:
        return AttrValue(static_cast<double>(a.f.value_or(0)));
      case kAttributeProto_AttributeType_INT:
        return AttrValue(a.i.value_or(0));
      case kAttributeProto_AttributeType_STRING:
        return AttrValue(std::string(a.s.value_or("")));
      case kAttributeProto_AttributeType_FLOATS:
        return AttrValue(std::vector<double>(a.floats.begin(), a.floats.end()));
      case kAttributeProto_AttributeType_INTS:
        return AttrValue(a.ints);
      case kAttributeProto_AttributeType_STRINGS:
        return AttrValue(std::vector<std::string>(a.strings.begin(), a.strings.end()));
      case kAttributeProto_AttributeType_TENSOR: {
        if (a.t == nullptr) return invalid_argument("attribute '", a.name, "' holds no tensor");
        REDLINE_ASSIGN(Tensor tensor, importer_.tensor(*a.t));
        return AttrValue(std::move(tensor));
      }
      default:
        return unsupported("attribute '", a.name, "' has type ", a.type,
                           " (AttributeProto.AttributeType), which this op does not take");
    }
  }

  Importer& importer_;
  const NodeProto& node_;
  Scope& scope_;
  int opset_;
  std::vector<Value*> inputs_;
  std::vector<Value*> outputs_;
  Status status_;
};

const AttributeProto* Importer::attribute(const NodeProto& node, const Scope& scope,
                                          std::string_view name) {
  for (const AttributeProto& a : node.attribute) {
    if (a.name != name) continue;
    if (a.ref_attr_name.empty()) return &a;
    if (scope.bindings == nullptr) return nullptr;
    auto it = scope.bindings->find(a.ref_attr_name);
    return it == scope.bindings->end() ? nullptr : it->second;
  }
  return nullptr;
}

// Whether equal names mean equal sizes. Paddle and others write "?" or "-1" for any size at all.
bool names_a_size(std::string_view name) {
  return !name.empty() && name != "None" && name.front() != '-' && name.front() != '?' &&
         name.front() != '*';
}

Result<Type> Importer::type(const TypeProto& proto, Graph& graph, std::string_view name) {
  switch (proto.kind) {
    case TypeProto::Kind::kTensor: {
      REDLINE_ASSIGN(DType dtype, dtype_from_onnx(proto.elem_type));
      if (!proto.shape) return Type::tensor(dtype);
      if (proto.shape->dim.size() > kMaxRank) {
        return unsupported("rank ", proto.shape->dim.size(), "; at most ", kMaxRank);
      }
      SymDims dims;
      for (const DimensionProto& dim : proto.shape->dim) {
        if (dim.kind == DimensionProto::Kind::kValue && dim.dim_value >= 0) {
          dims.emplace_back(dim.dim_value);
        } else if (dim.kind == DimensionProto::Kind::kValue && dim.dim_value < -1) {
          return invalid_argument("size ", dim.dim_value, " at axis ", dims.size(),
                                  "; expected 0 or more");
        } else if (dim.kind == DimensionProto::Kind::kParam && names_a_size(dim.dim_param)) {
          dims.push_back(Dim::symbol(std::string(dim.dim_param)));
        } else {
          dims.push_back(graph.fresh_symbol(name));  // exporters also write -1 for "any"
        }
      }
      if (std::optional<Dims> sizes = Shape(dims).as_static();
          sizes && !checked_count({sizes->begin(), sizes->size()})) {
        return invalid_argument("sizes ", sizes->to_string(), " overflow");
      }
      return Type::tensor(dtype, std::move(dims));
    }
    case TypeProto::Kind::kSequence:
    case TypeProto::Kind::kOptional: {
      if (proto.element == nullptr) return invalid_argument("element type is missing");
      REDLINE_ASSIGN(Type element, type(*proto.element, graph, name));
      return proto.kind == TypeProto::Kind::kSequence ? Type::sequence(std::move(element))
                                                      : Type::optional(std::move(element));
    }
    case TypeProto::Kind::kNone:
      return invalid_argument("type is missing");
    default:
      return unsupported("only tensors, sequences and optionals are supported as types");
  }
}

Status Importer::import_sparse(const SparseTensorProto& proto, Scope& scope) {
  if (proto.values == nullptr) return invalid_argument("sparse initializer without values");
  std::string_view name = proto.values->name;
  Result<Tensor> dense = sparse_tensor(proto);
  if (!dense.ok()) return dense.status().with_context(str_cat("sparse initializer '", name, "'"));
  scope.values[name] = scope.graph->add_constant(*std::move(dense), std::string(name));
  return {};
}

Status Importer::import_graph(const GraphProto& proto, Scope& scope,
                              std::span<const Type> input_types) {
  Graph& graph = *scope.graph;
  std::unordered_set<std::string_view> constants;
  for (const TensorProto& initializer : proto.initializer) {
    if (!constants.insert(initializer.name).second) {
      return invalid_argument("initializer '", initializer.name, "' is defined twice");
    }
    Result<Tensor> value = tensor(initializer);
    if (!value.ok()) {
      return value.status().with_context(str_cat("initializer '", initializer.name, "'"));
    }
    scope.values[initializer.name] =
        graph.add_constant(*std::move(value), std::string(initializer.name));
  }
  for (const SparseTensorProto& initializer : proto.sparse_initializer) {
    REDLINE_TRY(import_sparse(initializer, scope));
    constants.insert(initializer.values->name);
  }
  size_t formal = 0;
  for (const ValueInfoProto& input : proto.input) {
    // Before IR version 4 every initializer was listed as an input too; later that makes it a
    // default. Either way its value is the one in the file.
    if (constants.contains(input.name)) continue;
    if (scope.values.contains(input.name)) {
      return invalid_argument("input '", input.name, "' is defined twice");
    }
    Type stated;
    if (input.type != nullptr && input.type->kind != TypeProto::Kind::kNone) {
      Result<Type> result = type(*input.type, graph, input.name);
      if (!result.ok()) return result.status().with_context(str_cat("input '", input.name, "'"));
      stated = *std::move(result);
    } else if (formal < input_types.size()) {
      stated = input_types[formal];
    } else {
      return invalid_argument("input '", input.name, "' has no type");
    }
    ++formal;
    scope.values[input.name] = graph.add_input(std::move(stated), std::string(input.name));
  }
  REDLINE_TRY(import_nodes(proto.node, scope));
  for (const ValueInfoProto& output : proto.output) {
    if (output.name.empty())
      return invalid_argument("graph '", proto.name, "' has an output without a name");
    Value* value = scope.find(output.name);
    if (value == nullptr) {
      if (scope.is_missing(output.name)) continue;  // its node is reported already
      return invalid_argument("output '", output.name, "' of graph '", proto.name,
                              "' is not made by any node");
    }
    graph.add_output(value, std::string(output.name));
  }
  return {};
}

// Names that a node reads, those inside its subgraphs included.
void collect_reads(const NodeProto& node, std::vector<std::string_view>& reads) {
  for (std::string_view input : node.input) reads.push_back(input);
  auto inner = [&](const GraphProto& graph) {
    for (const NodeProto& n : graph.node) collect_reads(n, reads);
    for (const ValueInfoProto& output : graph.output) reads.push_back(output.name);
  };
  for (const AttributeProto& a : node.attribute) {
    if (a.g) inner(*a.g);
    for (const GraphProto& g : a.graphs) inner(g);
    if (node.op_type != "Gradient") continue;  // names tensors in attributes
    if (a.name == "y" && a.s) reads.push_back(*a.s);
    if (a.name == "xs" || a.name == "zs") {
      reads.insert(reads.end(), a.strings.begin(), a.strings.end());
    }
  }
}

// The nodes in an order in which each comes after what it reads; files usually are in one already.
Result<std::vector<const NodeProto*>> Importer::sorted(std::span<const NodeProto> nodes,
                                                       const Scope& scope) {
  std::unordered_map<std::string_view, size_t> made_by;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (std::string_view output : nodes[i].output) {
      if (output.empty()) continue;
      if (scope.values.contains(output) || !made_by.emplace(output, i).second) {
        return invalid_argument("value '", output, "' is defined twice (node '",
                                node_label(nodes[i]), "')");
      }
    }
  }
  std::vector<std::vector<size_t>> readers(nodes.size());
  std::vector<size_t> waits(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    std::vector<std::string_view> reads;
    collect_reads(nodes[i], reads);
    std::set<size_t> producers;
    for (std::string_view name : reads) {
      auto it = made_by.find(name);
      if (it != made_by.end() &&
          (it->second != i ||
           std::find(nodes[i].input.begin(), nodes[i].input.end(), name) != nodes[i].input.end()))
        producers.insert(it->second);
    }
    waits[i] = producers.size();
    for (size_t producer : producers) readers[producer].push_back(i);
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (waits[i] == 0) ready.push(i);
  }
  std::vector<const NodeProto*> order;
  while (!ready.empty()) {
    size_t i = ready.top();
    ready.pop();
    order.push_back(&nodes[i]);
    for (size_t reader : readers[i]) {
      if (--waits[reader] == 0) ready.push(reader);
    }
  }
  if (order.size() == nodes.size()) return order;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (waits[i] > 0) {
      return invalid_argument("the graph has a cycle through node '", node_label(nodes[i]), "'");
    }
  }
  return internal_error("sorting lost a node");
}

Status Importer::import_nodes(std::span<const NodeProto> nodes, Scope& scope) {
  REDLINE_ASSIGN(std::vector<const NodeProto*> order, sorted(nodes, scope));
  for (const NodeProto* node : order) import_node(*node, scope);
  return {};
}

ImportReport::OpCount& Importer::count_op(const std::string& op) {
  auto [found, inserted] = op_index_.emplace(op, report_.ops.size());
  if (inserted) report_.ops.push_back({op, 0, 0});
  return report_.ops[found->second];
}

void Importer::import_node(const NodeProto& node, Scope& scope) {
  std::string_view domain = normal_domain(node.domain);
  ImportReport::OpCount& count = count_op(qualified(domain, node.op_type));
  size_t count_index = static_cast<size_t>(&count - report_.ops.data());
  ++count.nodes;
  int opset = 0;
  auto fail = [&](std::string reason, std::string nearest = "") {
    // The graph names the node too.
    std::string named = str_cat("node '", node_label(node), "': ");
    if (reason.starts_with(named)) reason.erase(0, named.size());
    ++report_.ops[count_index].problems;
    report_.problems.push_back({node_label(node), std::string(node.op_type), std::string(domain),
                                opset, std::move(reason), std::move(nearest)});
    for (std::string_view output : node.output) {
      if (!output.empty()) scope.missing.insert(output);
    }
  };

  if (++num_nodes_ > max_nodes_) return fail("the functions make too many nodes");
  if (node.attribute.size() > kMaxAttributes) {
    return fail(str_cat("has ", node.attribute.size(), " attributes; at most ", kMaxAttributes));
  }
  auto named = functions_.find({domain, node.op_type, node.overload});
  const FunctionProto* function = named == functions_.end() ? nullptr : named->second;
  const ImportRule* rule = rules_.find(domain, node.op_type);
  auto version = scope.opsets->find(domain);
  if (version != scope.opsets->end()) opset = static_cast<int>(version->second);
  if (function == nullptr) {
    if (rule == nullptr) {
      // Looking is slow; whoever reads so many problems has seen the first ones.
      bool few = report_.problems.size() < kMaxNearest;
      const ImportRule* nearest = few ? rules_.nearest(node.op_type) : nullptr;
      fail("no such op is known", nearest ? qualified(nearest->domain, nearest->op_type) : "");
      return;
    }
    if (version == scope.opsets->end()) {
      // com.microsoft models often leave it out; its ops have one version.
      if (domain.empty()) return fail("the model does not import an opset of its domain");
      opset = 1;
    }
    if (opset < rule->since) {
      return fail(str_cat("opset ", opset, " is too old, expected ", rule->since, " or newer"));
    }
  }
  std::vector<std::string_view> reads;
  collect_reads(node, reads);
  for (std::string_view name : reads) {
    if (!scope.is_missing(name)) continue;
    for (std::string_view output : node.output) {
      if (!output.empty()) scope.missing.insert(output);
    }
    return;  // depends on a node that is reported already
  }
  for (std::string_view input : node.input) {
    if (input.empty() || scope.find(input) != nullptr || scope.is_absent(input)) continue;
    return fail(str_cat("input '", input, "' is not defined"));
  }
  size_t problems = report_.problems.size();
  Status status = function != nullptr ? import_function(*function, node, scope)
                                      : run_rule(*rule, node, scope, opset);
  if (!status.ok()) {
    fail(std::string(status.message()));
  } else if (report_.problems.size() > problems) {
    // Inside a subgraph or a function.
    for (std::string_view output : node.output) {
      if (!output.empty() && !scope.values.contains(output)) scope.missing.insert(output);
    }
  }
}

Status Importer::run_rule(const ImportRule& rule, const NodeProto& node, Scope& scope, int opset) {
  NodeImport context(*this, node, scope, opset);
  size_t problems = report_.problems.size();
  Status status = rule.import(context);
  if (report_.problems.size() > problems) return {};  // in a subgraph: reported there
  REDLINE_TRY(status);
  return context.finish();
}

// A function's body in place of the node, with its own names and the node's attributes.
Status Importer::import_function(const FunctionProto& function, const NodeProto& node,
                                 Scope& scope) {
  if (scope.function_depth >= kMaxFunctionDepth) {
    return invalid_argument("function '", function.name, "' calls itself");
  }
  std::map<std::string_view, const AttributeProto*> bindings;
  for (const AttributeProto& fallback : function.attribute_proto) {
    bindings[fallback.name] = &fallback;
  }
  for (const AttributeProto& given : node.attribute) {
    if (const AttributeProto* a = attribute(node, scope, given.name)) bindings[given.name] = a;
  }
  std::map<std::string_view, int64_t> opsets;
  for (const OperatorSetIdProto& import : function.opset_import) {
    opsets[normal_domain(import.domain)] = import.version;
  }
  Scope inner;
  inner.graph = scope.graph;
  inner.bindings = &bindings;
  inner.opsets = opsets.empty() ? scope.opsets : &opsets;
  inner.function_depth = scope.function_depth + 1;
  inner.graph_depth = scope.graph_depth;
  if (node.input.size() > function.input.size()) {
    return invalid_argument("has ", node.input.size(), " inputs, function '", function.name,
                            "' takes ", function.input.size());
  }
  for (size_t i = 0; i < node.input.size(); ++i) {
    if (!node.input[i].empty()) inner.values[function.input[i]] = scope.find(node.input[i]);
  }
  for (size_t i = 0; i < function.input.size(); ++i) {
    if (i >= node.input.size() || node.input[i].empty()) inner.absent.insert(function.input[i]);
  }
  size_t problems = report_.problems.size();
  REDLINE_TRY(import_nodes(function.node, inner));
  for (size_t i = 0; i < node.output.size(); ++i) {
    if (node.output[i].empty()) continue;
    if (i >= function.output.size())
      return invalid_argument("function '", function.name, "' has no output ", i);
    Value* value = inner.find(function.output[i]);
    if (value == nullptr) {
      if (report_.problems.size() > problems) continue;
      return invalid_argument("function '", function.name, "' does not make its output '",
                              function.output[i], "'");
    }
    scope.values[node.output[i]] = value;
  }
  return {};
}

}  // namespace

std::string ImportProblem::to_string() const {
  std::string text = str_cat("node '", node, "' (", qualified(domain, op_type));
  if (opset > 0) text += str_cat(", opset ", opset);
  text += "): " + reason;
  if (!nearest.empty()) text += "; nearest supported op: " + nearest;
  return text;
}

Result<ModelBytes> open_model(const std::string& path) {
  REDLINE_ASSIGN(std::shared_ptr<const MmapFile> file, MmapFile::open(path));
  std::span<const std::byte> bytes = file->bytes();
  if (bytes.empty()) return invalid_argument(path, ": the file is empty");
  return ModelBytes{bytes, std::move(file), path};
}

std::unique_ptr<ImportRegistry> make_import_registry() {
  auto registry = std::make_unique<ImportRegistry>();
  register_import_all(*registry);
  return registry;
}

Result<ImportedModel> import_onnx(const ModelBytes& source, const OpRegistry& ops,
                                  const ImportRegistry& rules, ImportReport* report) {
  ImportReport local;
  ImportReport& gathered = report != nullptr ? *report : local;
  auto in_file = [&](const Status& status) {
    return source.path.empty() ? status : status.with_context(source.path);
  };
  Result<ModelProto> read = read_model_proto(source.bytes);
  if (!read.ok()) return in_file(read.status());
  const ModelProto& model = *read;
  if (model.graph == nullptr)
    return in_file(invalid_argument("holds no graph; is it an ONNX model?"));
  if (model.ir_version > kOnnxNewestIrVersion) {
    return in_file(unsupported("IR version ", model.ir_version, "; the newest supported is ",
                               kOnnxNewestIrVersion));
  }
  std::map<std::string_view, int64_t> opsets;
  for (const OperatorSetIdProto& import : model.opset_import) {
    opsets[normal_domain(import.domain)] = import.version;
  }
  if (opsets.empty()) return in_file(invalid_argument("imports no opset"));
  if (auto it = opsets.find(""); it != opsets.end()) {
    if (it->second < kOldestOpset || it->second > kOnnxNewestOpset) {
      return in_file(unsupported("opset ", it->second, " of ai.onnx; supported are ", kOldestOpset,
                                 " to ", kOnnxNewestOpset,
                                 ". onnx.version_converter can raise an older model's"));
    }
  }

  ImportedModel result;
  result.graph = std::make_unique<Graph>(
      ops, model.graph->name.empty() ? "main" : std::string(model.graph->name));
  result.producer = str_cat(model.producer_name, model.producer_version.empty() ? "" : " ",
                            model.producer_version);
  result.ir_version = model.ir_version;
  if (opsets.contains("")) result.opset = static_cast<int>(opsets[""]);
  for (const StringStringEntryProto& entry : model.metadata_props) {
    result.metadata.emplace_back(entry.key, entry.value);
  }
  OnnxExternalData external;
  if (!source.path.empty()) {
    REDLINE_ASSIGN(external, OnnxExternalData::beside(source.path));
  }
  Importer importer(source, model, rules, external, gathered);
  Scope scope;
  scope.graph = result.graph.get();
  scope.opsets = &opsets;
  Status status = importer.import_graph(*model.graph, scope, {});
  result.num_nodes = importer.num_nodes();
  if (!status.ok()) return in_file(status);
  if (!gathered.problems.empty()) {
    std::string text =
        str_cat(gathered.problems.size(), gathered.problems.size() == 1 ? " node" : " nodes",
                " cannot be imported:");
    for (const ImportProblem& problem : gathered.problems) text += "\n  " + problem.to_string();
    return in_file(unsupported(text)).at_node(gathered.problems[0].node);
  }
  return result;
}

}  // namespace redline
