// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "ir/graph.h"

namespace redline {

// One ONNX node on its way into the IR, as an import rule sees it. Attribute readers check the
// type: a wrong one is remembered and makes the import of the node fail after the rule returns,
// with the attribute's name, so rules need not check each read.
class ImportContext {
 public:
  virtual ~ImportContext() = default;

  virtual std::string_view op_type() const = 0;
  virtual std::string_view node_name() const = 0;
  // Version of the node's domain that the model imports.
  virtual int opset() const = 0;
  virtual Graph& graph() = 0;

  virtual size_t num_inputs() const = 0;
  virtual Value* input(size_t i) const = 0;  // null when absent or beyond the end
  virtual size_t num_outputs() const = 0;    // as the node lists them, trailing empty names dropped
  virtual bool wants_output(size_t i) const = 0;

  // A value that the node could read, by the model's name for it; null when there is none.
  virtual Value* find_value(std::string_view name) const = 0;

  virtual bool has_attr(std::string_view name) const = 0;
  virtual int64_t int_attr(std::string_view name, int64_t fallback = 0) = 0;
  virtual float float_attr(std::string_view name, float fallback = 0) = 0;
  virtual std::string string_attr(std::string_view name, std::string_view fallback = "") = 0;
  virtual std::vector<int64_t> ints_attr(std::string_view name) = 0;
  virtual std::vector<float> floats_attr(std::string_view name) = 0;
  virtual std::vector<std::string> strings_attr(std::string_view name) = 0;
  virtual Tensor tensor_attr(std::string_view name) = 0;  // undefined when absent
  // Element type held as a TensorProto.DataType number (`to`, `dtype`).
  virtual DType dtype_attr(std::string_view name, DType fallback) = 0;
  // The type in a TypeProto attribute (Optional's `type`).
  virtual Result<Type> type_attr(std::string_view name) = 0;

  // The node's attributes as an op's own struct: those with the struct's member names are taken
  // over, `renames` maps {ONNX name, member name}. ONNX attributes that the struct does not have
  // are an error unless listed in `ignore`.
  virtual Result<Attrs> load_attrs(
      const AttrsType* type,
      std::initializer_list<std::pair<std::string_view, std::string_view>> renames = {},
      std::initializer_list<std::string_view> ignore = {}) = 0;

  // Adds a node to graph(), named after the ONNX node, and returns output 0 / the node.
  Result<Value*> emit(std::string_view op, std::vector<Value*> inputs, Attrs attrs = {});
  template <class A>
  Result<Value*> emit(std::string_view op, std::vector<Value*> inputs, A attrs) {
    return emit(op, std::move(inputs), Attrs::of(std::move(attrs)));
  }
  virtual Result<Node*> emit_node(std::string_view op, std::vector<Value*> inputs, Attrs attrs,
                                  size_t num_outputs) = 0;
  Value* constant(Tensor tensor) { return graph().add_constant(std::move(tensor)); }
  Value* constant_ints(std::span<const int64_t> values) {
    return constant(Tensor::from_int64(values));
  }
  // A rank-0 constant of the given element type.
  Value* constant_scalar(DType dtype, double value);

  virtual void set_output(size_t i, Value* value) = 0;
  // All outputs of a node in order.
  void set_outputs(Node* node) {
    for (size_t i = 0; i < node->num_outputs(); ++i) set_output(i, node->output(i));
  }

  // The op of the IR with the same operands in the same order, and attributes by their names: the
  // whole rule of most ops.
  Status import_same(
      std::string_view op,
      std::initializer_list<std::pair<std::string_view, std::string_view>> renames = {},
      std::initializer_list<std::string_view> ignore = {});
  // All inputs of the node, in order, absent ones null.
  std::vector<Value*> inputs() const;

  // Imports the subgraph attribute `name` into `into` (made with graph().add_subgraph): adds its
  // inputs with types from the model where given, else from `input_types`, its nodes and its
  // outputs.
  virtual Status import_subgraph(std::string_view name, Graph* into,
                                 std::span<const Type> input_types) = 0;

  Status unsupported_here(std::string_view reason) const {
    return unsupported(op_type(), ": ", reason);
  }
};

// How one ONNX op becomes IR. One rule serves all versions of the op; it asks opset() where they
// differ.
struct ImportRule {
  std::string domain;  // "" is ai.onnx; else "com.microsoft", ...
  std::string op_type;
  Status (*import)(ImportContext&) = nullptr;
  int since = 1;  // oldest version of the domain that the rule understands
};

class ImportRegistry {
 public:
  void add(ImportRule rule);
  // For the default domain.
  void add(std::string op_type, Status (*import)(ImportContext&)) {
    add({"", std::move(op_type), import});
  }
  const ImportRule* find(std::string_view domain, std::string_view op_type) const;
  // The rule whose name is nearest, for messages.
  const ImportRule* nearest(std::string_view op_type) const;
  std::vector<const ImportRule*> all() const;

 private:
  std::map<std::pair<std::string, std::string>, ImportRule> rules_;
};

// Every rule of this folder.
void register_import_all(ImportRegistry& registry);

}  // namespace redline
