// SPDX-License-Identifier: Apache-2.0
#include "tune/expected_region.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>

#include "ops/compare.h"
#include "ops/constant.h"
#include "ops/elements.h"
#include "ops/fused.h"
#include "tune/sample.h"

namespace redline {
namespace {

// Runs with moved values: more than there are computed values, a power of two.
constexpr int kLeastMoves = 4;
constexpr int kMostMoves = 16;

using Indices = std::shared_ptr<const std::vector<int64_t>>;

Tensor gather_elements(const Tensor& from, const std::vector<int64_t>& indices) {
  Tensor to = Tensor::create(from.dtype(), Dims{static_cast<int64_t>(indices.size())}).value();
  with_storage_type(from.dtype(), [&](auto storage) {
    using T = decltype(storage);
    for (size_t i = 0; i < indices.size(); ++i) {
      to.mutable_data<T>()[i] = from.data<T>()[indices[i]];
    }
  });
  return to;
}

double largest_of(const std::vector<double>& values) {
  double largest = 0;
  for (double v : values) {
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  }
  return largest;
}

// A region with the sizes of all its values.
class Region {
 public:
  Region(const Body& body, std::vector<Type> types, std::span<const Tensor> inputs)
      : body_(body), types_(std::move(types)), inputs_(inputs) {
    for (int i = 0; i < body.num_inputs; ++i) maker_.push_back(nullptr);
    for (const BodyNode& node : body.nodes) {
      for (int i = 0; i < node.num_outputs; ++i) maker_.push_back(&node);
    }
    for (const BodyNode* node : maker_) {
      place_.push_back(computed_);
      computed_ += node != nullptr && node->op->name != "constant" ? 1 : 0;
    }
    for (const Type& type : types_) dims_.push_back(type.shape.as_static().value_or(Dims()));
  }

  const Dims& dims(int value) const { return dims_[static_cast<size_t>(value)]; }
  const Type& type(int value) const { return types_[static_cast<size_t>(value)]; }
  const BodyNode* maker(int value) const { return maker_[static_cast<size_t>(value)]; }
  int computed() const { return computed_; }  // values that nodes compute
  int place(int value) const { return place_[static_cast<size_t>(value)]; }  // among these

  // The whole of an input or a constant; null for what a node computes.
  const Tensor* whole(int value) const {
    if (value < body_.num_inputs) return &inputs_[static_cast<size_t>(value)];
    const BodyNode& node = *maker(value);
    return node.op->name == "constant" ? &node.attrs.as<ConstantAttrs>().value : nullptr;
  }
  bool is_present(int value) const {
    return value >= 0 && (value >= body_.num_inputs || whole(value)->defined());
  }

  // Whether every node can be asked for single elements.
  bool has_elements() const {
    for (const BodyNode& node : body_.nodes) {
      if (node.op->name == "constant") {
        const Tensor& value = node.attrs.as<ConstantAttrs>().value;
        if (!value.defined() || value.dtype() == DType::kString) return false;
        continue;
      }
      if (node.num_outputs != 1) return false;
      if (node.op->has(kTraitPointwise)) continue;
      if (node.op->reference_at == nullptr) return false;
      for (int input : node.inputs) {
        if (input >= 0 && whole(input) == nullptr) return false;
      }
    }
    return true;
  }

 private:
  const Body& body_;
  std::vector<Type> types_;
  std::vector<Dims> dims_;
  std::span<const Tensor> inputs_;
  std::vector<const BodyNode*> maker_;
  std::vector<int> place_;
  int computed_ = 0;
};

// What all evaluations of a region share. Keys hold addresses, so what was used is kept.
struct Shared {
  std::map<std::pair<int, const std::vector<int64_t>*>, Tensor> anchors;  // not moved
  std::map<std::pair<const std::vector<int64_t>*, std::string>, Indices> mapped;
  std::vector<Indices> kept;
};

// One evaluation at some elements. Run 0 is the expectation; in the others each computed value is
// moved up or down by its own tolerance. The signs of the runs are rows of a Hadamard matrix, so
// that any two values move alike in half of the runs: they cannot hide each other, and the largest
// change is at least the root of the sum of the squares of what each value's own move changes.
class Evaluation {
 public:
  Evaluation(const Region& region, Shared& shared, int run)
      : region_(region), shared_(shared), run_(run) {}

  Result<Tensor> value_at(int value, const Indices& indices) {
    auto key = std::pair(value, indices.get());
    if (auto it = known_.find(key); it != known_.end()) return it->second;
    REDLINE_ASSIGN(Tensor result, compute(value, indices));
    shared_.kept.push_back(indices);
    known_.emplace(key, result);
    return result;
  }

 private:
  Result<Tensor> compute(int value, const Indices& indices) {
    if (const Tensor* whole = region_.whole(value)) return gather_elements(*whole, *indices);
    const BodyNode& node = *region_.maker(value);
    return node.op->has(kTraitPointwise) ? pointwise_at(node, value, indices)
                                         : anchor_at(node, value, indices);
  }

  Result<Tensor> anchor_at(const BodyNode& node, int value, const Indices& indices) {
    std::vector<TensorView> views;
    std::vector<Type> types;
    for (int input : node.inputs) {
      bool present = region_.is_present(input);
      views.push_back(present ? region_.whole(input)->view() : TensorView());
      types.push_back(present ? region_.type(input) : Type());
    }
    const Type& type = region_.type(value);
    Dims dims{static_cast<int64_t>(indices->size())};
    auto [it, missing] = shared_.anchors.try_emplace(std::pair(value, indices.get()));
    Tensor& result = it->second;
    if (missing) {
      REDLINE_ASSIGN(result, Tensor::create(type.dtype, dims));
      shared_.kept.push_back(indices);
      REDLINE_TRY(
          node.op->reference_at({node.attrs, views, region_.dims(value), *indices, result.view()}));
    }
    if (run_ == 0 || !is_float(type.dtype)) return result;
    int64_t length = reduction_length(*node.op, node.attrs, types, {&type, 1});
    Tolerance tolerance = rounding_tolerance(type.dtype, length);
    std::vector<double> values = read_elements<double>(result.view());
    double fixed = tolerance.to_largest * largest_of(values);
    for (double& v : values) v += sign_of(value) * (tolerance.relative * std::abs(v) + fixed);
    REDLINE_ASSIGN(Tensor moved, Tensor::create(type.dtype, dims));
    write_elements(values, moved.view());
    return moved;
  }

  Result<Tensor> pointwise_at(const BodyNode& node, int value, const Indices& indices) {
    std::vector<HostValue> operands(node.inputs.size());
    std::vector<const HostValue*> inputs(node.inputs.size());
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!region_.is_present(node.inputs[i])) continue;
      REDLINE_ASSIGN(operands[i].tensor, operand_at(node.inputs[i], value, indices));
      inputs[i] = &operands[i];
    }
    REDLINE_ASSIGN(std::vector<HostValue> results, run_reference(*node.op, node.attrs, inputs, 1));
    Tensor result = results[0].tensor;
    if (result.count() != static_cast<int64_t>(indices->size())) {
      return unsupported(node.op->name, " does not work element by element");
    }
    result = result.reshaped(Dims{result.count()});
    if (run_ > 0 && is_float(result.dtype()) && !node.op->has(kTraitMovement)) {
      move(result, sign_of(value));
    }
    return result;
  }

  // What the elements of `value` read of its operand. Single numbers stay as they are: some ops
  // want a scalar.
  Result<Tensor> operand_at(int operand, int value, const Indices& indices) {
    const Dims& from = region_.dims(operand);
    const Dims& to = region_.dims(value);
    if (from.count() == 1) {
      static const Indices kFirst = std::make_shared<std::vector<int64_t>>(1);
      REDLINE_ASSIGN(Tensor one, value_at(operand, kFirst));
      return one.reshaped(to.count() == 1 ? from : from.rank() == 0 ? Dims() : Dims{1});
    }
    if (from == to) return value_at(operand, indices);
    auto key = std::pair(indices.get(), from.to_string());
    auto it = shared_.mapped.find(key);
    if (it == shared_.mapped.end()) {
      Dims strides = broadcast_strides(from, to);
      auto mapped = std::make_shared<std::vector<int64_t>>();
      for (int64_t flat : *indices) {
        int64_t at = 0;
        for (size_t axis = to.size(); axis-- > 0; flat /= to[axis]) {
          at += flat % to[axis] * strides[axis];
        }
        mapped->push_back(at);
      }
      it = shared_.mapped.emplace(key, std::move(mapped)).first;
    }
    return value_at(operand, it->second);
  }

  double sign_of(int value) const {
    auto row = 1 + static_cast<unsigned>(region_.place(value) % (kMostMoves - 1));
    return std::popcount(row & static_cast<unsigned>(run_ - 1)) % 2 == 0 ? 1 : -1;
  }

  static void move(Tensor& result, double sign) {
    double step = rounding_tolerance(result.dtype()).relative;
    std::vector<double> values = read_elements<double>(result.view());
    for (double& v : values) v += sign * step * std::abs(v);
    Tensor moved = Tensor::create(result.dtype(), result.dims()).value();
    write_elements(values, moved.view());
    result = moved;
  }

  const Region& region_;
  Shared& shared_;
  int run_;
  std::map<std::pair<int, const std::vector<int64_t>*>, Tensor> known_;
};

Result<Expectation::Output> expect_output(const Region& region, int value, uint64_t seed) {
  Expectation::Output output;
  output.dtype = region.type(value).dtype;
  output.dims = region.dims(value);
  auto indices = std::make_shared<std::vector<int64_t>>(sample_elements(output.dims, seed));
  output.elements = *indices;
  Shared shared;
  REDLINE_ASSIGN(output.values, Evaluation(region, shared, 0).value_at(value, indices));
  std::vector<double> base = read_elements<double>(output.values.view());
  // What comes straight from memory is exact.
  bool computed = region.whole(value) == nullptr;
  Tolerance tolerance = computed ? rounding_tolerance(output.dtype) : Tolerance();
  double largest = largest_of(base);
  for (double v : base) output.limits.push_back(tolerance.limit(v, largest));
  std::vector<double> moved_most(base.size());
  int runs =
      std::clamp(static_cast<int>(std::bit_ceil(static_cast<unsigned>(region.computed() + 1))),
                 kLeastMoves, kMostMoves);
  for (int run = 1; computed && run <= runs; ++run) {
    REDLINE_ASSIGN(Tensor moved, Evaluation(region, shared, run).value_at(value, indices));
    std::vector<double> values = read_elements<double>(moved.view());
    for (size_t i = 0; i < values.size(); ++i) {
      bool same = values[i] == base[i] || (std::isnan(values[i]) && std::isnan(base[i]));
      if (same) continue;
      double distance = std::abs(values[i] - base[i]);
      // A place where rounding decides between a number and none.
      if (std::isnan(distance)) distance = INFINITY;
      moved_most[i] = std::max(moved_most[i], distance);
    }
  }
  for (size_t i = 0; i < moved_most.size(); ++i) output.limits[i] += moved_most[i];
  return output;
}

}  // namespace

Result<std::optional<std::vector<Expectation::Output>>> expect_elements(
    const Problem& problem, std::span<const Tensor> inputs, uint64_t seed) {
  using Outputs = std::vector<Expectation::Output>;
  const Body body = body_of(problem);
  std::vector<Type> types;
  std::vector<const Tensor*> constants;
  for (const Tensor& input : inputs) {
    types.push_back(input.defined() ? Type::tensor(input.dtype(), Shape::of(input.dims()))
                                    : Type());
    constants.push_back(input.defined() ? &input : nullptr);
  }
  Result<std::vector<Type>> inferred = infer_body(body, types, constants);
  if (!inferred.ok()) return std::optional<Outputs>();
  std::vector<Type> all = *std::move(inferred);
  for (size_t i = 0; i < all.size(); ++i) {
    bool absent = i < inputs.size() && !inputs[i].defined();
    if (absent) continue;
    if (!all[i].is_tensor() || all[i].dtype == DType::kString || !all[i].shape.as_static()) {
      return std::optional<Outputs>();
    }
  }
  Region region(body, std::move(all), inputs);
  if (!region.has_elements()) return std::optional<Outputs>();
  Outputs outputs;
  for (size_t i = 0; i < body.outputs.size(); ++i) {
    if (!(region.dims(body.outputs[i]) == problem.outputs[i].dims)) {
      return unsupported("the sizes of output ", i, " are not those of the op's rule");
    }
    REDLINE_ASSIGN(Expectation::Output output, expect_output(region, body.outputs[i], seed + i));
    outputs.push_back(std::move(output));
  }
  return std::optional(std::move(outputs));
}

}  // namespace redline
