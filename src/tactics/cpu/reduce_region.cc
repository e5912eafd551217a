// SPDX-License-Identifier: Apache-2.0
// A reduction with the pointwise ops before it, which are computed block by block into a buffer
// that stays in the cache, and those behind it, which run over the results in place.
#include <algorithm>
#include <optional>

#include "ops/constant.h"
#include "ops/fused.h"
#include "ops/reduce.h"
#include "tactics/cpu/pointwise_step.h"
#include "tactics/cpu/reduce_shape.h"

namespace redline {
namespace {

constexpr int64_t kBlock = 8192;  // floats: 32 KB of stack

// The three parts as problems of their own.
struct Parts {
  std::optional<Problem> before;
  Problem reduce;
  std::optional<Problem> behind;
  // Of each input of `before` and `behind` (but for the first of `behind`, the reduction's result):
  // which input of the region.
  std::vector<size_t> before_inputs;
  std::vector<size_t> behind_inputs;
  size_t reduce_input = 0;  // when nothing is before
};

Type type_of_operand(const OperandDesc& operand, int& unknown) {
  SymDims dims;
  for (int64_t dim : operand.dims) {
    dims.push_back(dim == kDynamicDim ? Dim::symbol("u" + std::to_string(unknown++)) : Dim(dim));
  }
  return Type::tensor(operand.dtype, Shape(std::move(dims)));
}

OperandDesc operand_of_type(const Type& type) {
  OperandDesc operand;
  operand.dtype = type.dtype;
  operand.has_rank = type.shape.has_rank() && type.shape.rank() <= kMaxRank;
  if (!operand.has_rank) return operand;
  for (const Dim& dim : type.shape.dims()) {
    operand.dims.push_back(dim.as_const().value_or(kDynamicDim));
  }
  return operand;
}

class Cutter {
 public:
  explicit Cutter(const Problem& problem)
      : problem_(problem), body_(*problem.attrs.as<FusedAttrs>().body) {}

  Result<Parts> cut() {
    anchor_ = find_anchor(body_);
    if (anchor_ == nullptr || anchor_->attrs.type() != attrs_type<ReduceAttrs>() ||
        anchor_->num_outputs != 1) {
      return unsupported("not a region of a reduction");
    }
    if (problem_.outputs.size() != 1) return unsupported("several outputs");
    REDLINE_TRY(find_types());
    REDLINE_TRY(sort_nodes());
    Parts parts;
    REDLINE_TRY(describe_reduce(parts));
    if (body_.outputs[0] == anchor_value_) return parts;
    Body behind = make_body(behind_, anchor_value_, parts.behind_inputs);
    behind.outputs = {renamed_[static_cast<size_t>(body_.outputs[0])]};
    parts.behind = part_problem(std::move(behind), parts.behind_inputs, types_[anchor_at()],
                                types_[static_cast<size_t>(body_.outputs[0])]);
    return parts;
  }

 private:
  size_t anchor_at() const { return static_cast<size_t>(anchor_value_); }

  Status find_types() {
    std::vector<Type> inputs;
    std::vector<const Tensor*> constants;
    int unknown = 0;
    for (const OperandDesc& operand : problem_.inputs) {
      if (!operand.present || !operand.is_tensor || !operand.has_rank) {
        return unsupported("takes tensors of known rank");
      }
      inputs.push_back(type_of_operand(operand, unknown));
      constants.push_back(operand.constant);
    }
    REDLINE_ASSIGN(types_, infer_body(body_, inputs, constants));
    return {};
  }

  // Which nodes each part needs; what both read is computed in both.
  Status sort_nodes() {
    int value = body_.num_inputs;
    for (const BodyNode& node : body_.nodes) {
      if (node.num_outputs != 1) return unsupported("several results of one op");
      bool fits = &node == anchor_ || node.op->name == "constant" || node.op->has(kTraitPointwise);
      if (!fits) return unsupported("a second op that is not pointwise");
      if (&node == anchor_) anchor_value_ = value;
      ++value;
    }
    before_ = needed_for(anchor_->inputs[0]);
    behind_ = needed_for(body_.outputs[0]);
    bool reduced = body_.outputs[0] == anchor_value_ ||
                   std::any_of(behind_.begin(), behind_.end(), [&](int behind) {
                     const std::vector<int>& inputs = node_of(behind).inputs;
                     return std::find(inputs.begin(), inputs.end(), anchor_value_) != inputs.end();
                   });
    return reduced ? Status() : unsupported("a result that is not the reduction's");
  }

  // The nodes that a value is made by, in order, without the anchor and what only it needs.
  std::vector<int> needed_for(int value) const {
    std::vector<bool> needed(types_.size());
    needed[static_cast<size_t>(value)] = true;
    std::vector<int> nodes;
    for (int v = static_cast<int>(types_.size()) - 1; v >= body_.num_inputs; --v) {
      if (!needed[static_cast<size_t>(v)] || v == anchor_value_) continue;
      nodes.push_back(v);
      for (int input : node_of(v).inputs) {
        if (input >= 0) needed[static_cast<size_t>(input)] = true;
      }
    }
    std::reverse(nodes.begin(), nodes.end());
    return nodes;
  }

  const BodyNode& node_of(int value) const {
    return body_.nodes[static_cast<size_t>(value - body_.num_inputs)];
  }

  // The nodes that make these values, renumbered. `first`: a value that becomes input 0.
  Body make_body(const std::vector<int>& values, int first, std::vector<size_t>& inputs) {
    Body part;
    renamed_.assign(types_.size(), -1);
    if (first >= 0) renamed_[static_cast<size_t>(first)] = part.num_inputs++;
    for (int value : values) {
      for (int input : node_of(value).inputs) {
        if (input < 0 || input >= body_.num_inputs || renamed_[static_cast<size_t>(input)] >= 0) {
          continue;
        }
        renamed_[static_cast<size_t>(input)] = part.num_inputs++;
        inputs.push_back(static_cast<size_t>(input));
      }
    }
    int next = part.num_inputs;
    for (int value : values) {
      BodyNode node = node_of(value);
      for (int& input : node.inputs) {
        if (input >= 0) input = renamed_[static_cast<size_t>(input)];
      }
      part.nodes.push_back(std::move(node));
      renamed_[static_cast<size_t>(value)] = next++;
    }
    return part;
  }

  Problem part_problem(Body body, const std::vector<size_t>& inputs, std::optional<Type> first,
                       const Type& result) {
    Problem part;
    part.op = problem_.op;
    if (first) part.inputs.push_back(operand_of_type(*first));
    for (size_t input : inputs) part.inputs.push_back(problem_.inputs[input]);
    part.outputs = {operand_of_type(result)};
    part.attrs = Attrs::of(FusedAttrs{std::make_shared<const Body>(std::move(body))});
    return part;
  }

  Status describe_reduce(Parts& parts) {
    parts.reduce.op = anchor_->op;
    parts.reduce.attrs = anchor_->attrs;
    for (size_t i = 0; i < anchor_->inputs.size(); ++i) {
      int value = anchor_->inputs[i];
      if (value < 0) {
        parts.reduce.inputs.push_back({.present = false});
        continue;
      }
      OperandDesc operand = operand_of_type(types_[static_cast<size_t>(value)]);
      if (value < body_.num_inputs) {
        operand.constant = problem_.inputs[static_cast<size_t>(value)].constant;
      } else if (node_of(value).op->name == "constant") {
        operand.constant = &node_of(value).attrs.as<ConstantAttrs>().value;
      }
      parts.reduce.inputs.push_back(operand);
    }
    parts.reduce.outputs = {operand_of_type(types_[anchor_at()])};
    int x = anchor_->inputs[0];
    if (x < body_.num_inputs) {
      parts.reduce_input = static_cast<size_t>(x);
      return {};
    }
    Body before = make_body(before_, -1, parts.before_inputs);
    before.outputs = {renamed_[static_cast<size_t>(x)]};
    parts.before =
        part_problem(std::move(before), parts.before_inputs, {}, types_[static_cast<size_t>(x)]);
    return {};
  }

  const Problem& problem_;
  const Body& body_;
  const BodyNode* anchor_ = nullptr;
  int anchor_value_ = -1;
  std::vector<Type> types_;
  std::vector<int> before_;
  std::vector<int> behind_;
  std::vector<int> renamed_;
};

Result<Parts> cut(const Problem& problem) {
  if (!problem.is("fused")) return unsupported("not a region");
  REDLINE_ASSIGN(Parts parts, Cutter(problem).cut());
  REDLINE_TRY(supports_reduce(parts.reduce));
  if (parts.before) REDLINE_TRY(supports_pointwise(*parts.before));
  if (parts.behind) {
    REDLINE_TRY(supports_pointwise(*parts.behind));
    // They run in place.
    if (parts.behind->outputs[0].dtype != DType::kFloat32 ||
        !(parts.behind->outputs[0].dims == parts.reduce.outputs[0].dims)) {
      return unsupported("another type or other sizes behind the reduction");
    }
  }
  return parts;
}

// Where element 0 would be for element `first` to lie at `data`.
void* origin_of(float* data, int64_t first) {
  return reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(data) -
                                 static_cast<uintptr_t>(first) * sizeof(float));
}

class ReduceRegionKernel final : public Kernel {
 public:
  Status prepare(const Parts& parts) {
    REDLINE_ASSIGN(shape_, reduce_shape(parts.reduce));
    count_ = parts.reduce.outputs[0].dims.count();
    reduce_input_ = parts.reduce_input;
    before_inputs_ = parts.before_inputs;
    behind_inputs_ = parts.behind_inputs;
    if (parts.before) {
      REDLINE_ASSIGN(before_, make_pointwise_step(*parts.before));
    }
    if (parts.behind) {
      REDLINE_ASSIGN(behind_, make_pointwise_step(*parts.behind));
    }
    return {};
  }

  size_t workspace_bytes() const override {
    if (!before_ || in_blocks()) return 0;
    return static_cast<size_t>(before_->layout.elems) * sizeof(float);
  }

  Status run(const KernelArgs& args) const override {
    const void* in[kernels::kMaxPointwiseOperands];
    const void* behind_in[kernels::kMaxPointwiseOperands];
    for (size_t i = 0; i < before_inputs_.size(); ++i) in[i] = args.inputs[before_inputs_[i]].data;
    behind_in[0] = args.outputs[0].data;
    for (size_t i = 0; i < behind_inputs_.size(); ++i) {
      behind_in[i + 1] = args.inputs[behind_inputs_[i]].data;
    }
    auto* y = static_cast<float*>(args.outputs[0].data);
    if (before_ && in_blocks()) {
      run_in_blocks(args, in, behind_in, y);
      return {};
    }
    const auto* x = static_cast<const float*>(args.inputs[reduce_input_].data);
    if (before_) {
      void* whole[1] = {args.workspace};
      args.pool->parallel_for(before_->layout.elems, before_->grain,
                              [&](int64_t begin, int64_t end) {
                                pointwise_(before_->code, before_->layout, in, whole, begin, end);
                              });
      x = static_cast<const float*>(args.workspace);
    }
    args.pool->parallel_for(count_, reduce_grain(shape_), [&](int64_t begin, int64_t end) {
      reduce_(shape_.op, x, y, shape_.reduced, shape_.inner, begin, end);
      finish(behind_in, y, begin, end);
    });
    return {};
  }

 private:
  // What makes shape_.inner results.
  int64_t unit() const { return shape_.reduced * shape_.inner; }
  bool in_blocks() const { return unit() > 0 && unit() <= kBlock; }

  void finish(const void* const* in, float* y, int64_t begin, int64_t end) const {
    void* out[1] = {y};
    if (behind_) pointwise_(behind_->code, behind_->layout, in, out, begin, end);
  }

  void run_in_blocks(const KernelArgs& args, const void* const* in, const void* const* behind_in,
                     float* y) const {
    int64_t units_a_block = kBlock / unit();
    int64_t units = count_ / shape_.inner;
    int64_t grain = std::max<int64_t>(units_a_block, before_->grain / unit());
    args.pool->parallel_for(units, grain, [&](int64_t first, int64_t last) {
      alignas(64) float block[kBlock];
      for (int64_t at = first; at < last; at += units_a_block) {
        int64_t to = std::min(last, at + units_a_block);
        void* out[1] = {origin_of(block, at * unit())};
        pointwise_(before_->code, before_->layout, in, out, at * unit(), to * unit());
        reduce_(shape_.op, block, y + at * shape_.inner, shape_.reduced, shape_.inner, 0,
                (to - at) * shape_.inner);
        finish(behind_in, y, at * shape_.inner, to * shape_.inner);
      }
    });
  }

  ReduceShape shape_;
  int64_t count_ = 0;
  size_t reduce_input_ = 0;
  std::vector<size_t> before_inputs_;
  std::vector<size_t> behind_inputs_;
  std::optional<PointwiseStep> before_;
  std::optional<PointwiseStep> behind_;
  decltype(kernels::PointwiseKernels::run) pointwise_ =
      kernels::pointwise_kernels(kernels::detect_isa()).run;
  decltype(kernels::ReduceKernels::reduce) reduce_ =
      kernels::reduce_kernels(kernels::detect_isa()).reduce;
};

Status supports(const Problem& problem) { return cut(problem).status(); }

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  REDLINE_ASSIGN(Parts parts, cut(problem));
  auto kernel = std::make_unique<ReduceRegionKernel>();
  REDLINE_TRY(kernel->prepare(parts));
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_reduce_region(TacticRegistry& registry) {
  registry.add({.name = "cpu.reduce_region",
                .device = "cpu",
                .ops = {"fused"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
