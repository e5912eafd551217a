// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "core/tensor.h"
#include "core/type.h"
#include "ops/attrs.h"

namespace redline {

class InferContext;
class ReferenceContext;
struct ReferenceAt;

enum class Arity : uint8_t { kRequired, kOptional, kVariadic };

// An input or output of an op. Optional ones may be absent; only the last may be variadic.
struct Operand {
  std::string name;
  Arity arity = Arity::kRequired;
};

// Facts about an op that passes ask for.
enum OpTrait : uint32_t {
  kTraitNone = 0,
  kTraitPointwise = 1 << 0,      // output element i depends on (broadcast) input elements i only
  kTraitCommutative = 1 << 1,    // the first two inputs may be swapped
  kTraitMovement = 1 << 2,       // moves elements, computes nothing
  kTraitView = 1 << 3,           // output holds input 0's elements in the same order
  kTraitRandom = 1 << 4,         // never folded, never merged
  kTraitDataDependent = 1 << 5,  // output sizes depend on input values (NonZero, Unique)
  kTraitReduction = 1 << 6,
  kTraitIdempotent = 1 << 7,  // f(f(x)) = f(x)
  kTraitReadsSizes = 1 << 8,  // of its operands only the sizes are read
};

// What a problem costs at least, for ranking and rooflines.
struct Cost {
  double flops = 0;  // multiply and add count as two
};

// One op: everything the rest of the engine knows about it. A new op is one file that fills one of
// these; see ops/README.md.
struct OpDef {
  std::string name;  // snake_case, as in the text form
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  const AttrsType* attrs = attrs_type<NoAttrs>();
  uint32_t traits = kTraitNone;
  int num_subgraphs = 0;
  // Sets the type of each output (and, for integer tensors, symbolic contents where they are
  // known). Checks ranks, types and attributes; an error names the operand, what it was, what was
  // expected.
  Status (*infer)(InferContext&) = nullptr;
  // Computes the outputs on the host exactly to the spec, in higher precision than the element type
  // where that differs. Inputs passed `infer`.
  Status (*reference)(ReferenceContext&) = nullptr;
  // Optional, where all of the reference takes long: some elements of output 0 alone, with the
  // reference's precision.
  Status (*reference_at)(const ReferenceAt&) = nullptr;
  Cost (*cost)(std::span<const Type> inputs, std::span<const Type> outputs,
               const Attrs& attrs) = nullptr;

  bool has(OpTrait trait) const { return (traits & trait) != 0; }
  size_t min_inputs() const;
  size_t max_inputs() const;  // SIZE_MAX when variadic
  size_t min_outputs() const;
  size_t max_outputs() const;
};

// All ops, by name. Filled once, then read-only and thread-safe; passed as a parameter.
class OpRegistry {
 public:
  OpRegistry() = default;
  OpRegistry(const OpRegistry&) = delete;
  OpRegistry& operator=(const OpRegistry&) = delete;
  void add(OpDef def);  // a name may be added once
  const OpDef* find(std::string_view name) const;
  // For names that our own code wrote.
  const OpDef& get(std::string_view name) const;
  std::vector<const OpDef*> all() const;  // by name

 private:
  std::map<std::string, std::unique_ptr<OpDef>, std::less<>> ops_;
};

// Every op of this folder.
void register_op_all(OpRegistry& registry);
std::unique_ptr<OpRegistry> make_op_registry();

// One input of an inference: its type, and its value as far as it is known.
struct InferInput {
  const Type* type = nullptr;         // null: the optional input is absent
  const Tensor* constant = nullptr;   // the value, when it is a constant
  const SymDims* contents = nullptr;  // the elements of an integer tensor, when known symbolically
};

// What an op's `infer` sees. One call, one thread.
class InferContext {
 public:
  // A subgraph's output types for the given input types.
  using InferSubgraph =
      std::function<Result<std::vector<Type>>(size_t index, std::span<const Type> inputs)>;

  InferContext(const OpDef& op, const Attrs& attrs, std::span<const InferInput> inputs,
               size_t num_outputs);

  const OpDef& op() const { return op_; }
  template <class A>
  const A& attrs() const {
    return attrs_.as<A>();
  }

  size_t num_inputs() const { return inputs_.size(); }
  bool has_input(size_t i) const { return i < inputs_.size() && inputs_[i].type != nullptr; }
  const Type& type(size_t i) const { return *inputs_[i].type; }
  DType dtype(size_t i) const { return inputs_[i].type->dtype; }
  const Shape& shape(size_t i) const { return inputs_[i].type->shape; }
  // The value when it is constant, else null.
  const Tensor* constant(size_t i) const { return has_input(i) ? inputs_[i].constant : nullptr; }
  // The elements of an integer (or bool) input in row-major order, from a constant or from shape
  // arithmetic; none when unknown.
  std::optional<SymDims> contents(size_t i) const;
  // The same when every element is a plain number.
  std::optional<std::vector<int64_t>> const_ints(size_t i) const;

  size_t num_outputs() const { return outputs_.size(); }
  void set_output(size_t i, Type type) {
    if (i < outputs_.size()) outputs_[i] = std::move(type);
  }
  void set_output(size_t i, DType dtype, Shape shape) {
    set_output(i, Type::tensor(dtype, std::move(shape)));
  }
  // Ignored when an element overflowed.
  void set_contents(size_t i, SymDims contents);
  // A symbol for a size that only execution can tell.
  Dim fresh_symbol(std::string_view hint);
  // True when every size must come out as a number (at run time); fresh symbols are then only for
  // data-dependent outputs.
  Result<std::vector<Type>> infer_subgraph(size_t index, std::span<const Type> inputs);
  // The types that a subgraph's inputs have now; none when they are not at hand.
  std::vector<Type> subgraph_inputs(size_t index) const {
    return subgraph_input_types ? subgraph_input_types(index) : std::vector<Type>();
  }

  // Errors that name the op and the operand.
  Status error(std::string_view message) const;
  Status input_error(size_t i, std::string_view message) const;
  // Fails unless input i is a tensor (and present).
  Status expect_tensor(size_t i) const;
  Status expect_rank(size_t i, int rank) const;  // passes when the rank is unknown
  Status expect_same_dtype(size_t i, size_t j) const;
  // axis in [-rank, rank) to [0, rank).
  Result<int> normalize_axis(int64_t axis, int rank) const;

  std::vector<Type>& outputs() { return outputs_; }
  std::vector<std::optional<SymDims>>& output_contents() { return contents_; }

  std::function<Dim(std::string_view)> make_symbol;               // set by the caller
  InferSubgraph subgraph;                                         // set by the caller
  std::function<std::vector<Type>(size_t)> subgraph_input_types;  // set by the caller, or not

 private:
  const OpDef& op_;
  const Attrs& attrs_;
  std::vector<InferInput> inputs_;
  std::vector<Type> outputs_;
  std::vector<std::optional<SymDims>> contents_;
};

// Multidirectional broadcasting (ONNX Broadcasting.md): aligned at the last axis.
Result<Shape> broadcast_shapes(std::span<const Shape> shapes);
Dims broadcast_dims(std::span<const Dims> dims);  // sizes are known to be compatible

// What an op's `reference` sees. Inputs are host tensors; outputs are made by the caller when the
// op's shape rule tells their sizes, and by allocate_output otherwise.
class ReferenceContext {
 public:
  virtual ~ReferenceContext() = default;

  const Attrs& attrs() const { return *attrs_; }
  template <class A>
  const A& attrs() const {
    return attrs_->as<A>();
  }
  size_t num_inputs() const { return inputs_.size(); }
  bool has_input(size_t i) const { return i < inputs_.size() && inputs_[i] != nullptr; }
  const TensorView& input(size_t i) const { return input_views_[i]; }
  // For sequences and optionals (and tensors).
  const HostValue& input_value(size_t i) const { return *inputs_[i]; }

  size_t num_outputs() const { return num_outputs_; }
  bool wants_output(size_t i) const { return i < num_outputs_; }
  // The output whose sizes the shape rule told; its elements are not initialised.
  const TensorView& output(size_t i) const { return output_views_[i]; }
  bool has_output_view(size_t i) const { return output_views_[i].data != nullptr; }
  // The type that the shape rule or the plan gave it.
  virtual Type output_type(size_t i) const = 0;
  // An output whose sizes only the values tell.
  virtual Result<TensorView> allocate_output(size_t i, DType dtype, const Dims& dims) = 0;
  virtual Status set_output_value(size_t i, HostValue value) = 0;
  virtual Result<std::vector<HostValue>> run_subgraph(size_t index,
                                                      std::span<const HostValue> inputs) = 0;

 protected:
  const Attrs* attrs_ = nullptr;
  std::vector<const HostValue*> inputs_;
  std::vector<TensorView> input_views_;
  std::vector<TensorView> output_views_;
  size_t num_outputs_ = 0;
};

// What an op's `reference_at` sees. Sizes passed `infer` and the reference's own checks.
struct ReferenceAt {
  const Attrs& attrs;
  std::span<const TensorView> inputs;  // absent ones have null data
  Dims dims;                           // of output 0
  std::span<const int64_t> elements;   // flat indices into it
  TensorView result;                   // one value for each, of output 0's type

  bool has_input(size_t i) const { return i < inputs.size() && inputs[i].data != nullptr; }
};

// Runs an op's reference on host values: shape rule on the concrete sizes, then the reference.
// input_types, when given, tell the types of sequences and optionals, which may be empty.
using RunSubgraph =
    std::function<Result<std::vector<HostValue>>(size_t index, std::span<const HostValue> inputs)>;
Result<std::vector<HostValue>> run_reference(const OpDef& op, const Attrs& attrs,
                                             std::span<const HostValue* const> inputs,
                                             size_t num_outputs,
                                             const RunSubgraph& run_subgraph = {},
                                             const InferContext::InferSubgraph& infer_subgraph = {},
                                             std::span<const Type* const> input_types = {});
Type type_of(const HostValue& value);

}  // namespace redline
