// SPDX-License-Identifier: Apache-2.0
#include "tactics/cpu/onednn_step.h"

#include <algorithm>
#include <cmath>

#include "ops/constant.h"
#include "ops/elements.h"
#include "ops/fused.h"
#include "ops/pointwise.h"

namespace redline {
namespace {

namespace dnnl = kernels::onednn;
using dnnl::Eltwise;
using dnnl::PostOp;

constexpr int kMaxArgs = 16;

class PrimitiveKernel final : public Kernel {
 public:
  PrimitiveKernel(Primitive primitive, std::vector<ArgSource> sources)
      : primitive_(std::move(primitive)),
        sources_(std::move(sources)),
        scratchpad_(primitive_.scratchpad_bytes()) {}

  size_t workspace_bytes() const override { return scratchpad_; }
  std::string slow_because() const override { return primitive_.slow_because(); }

  Status run(const KernelArgs& args) const override {
    void* pointers[kMaxArgs];
    for (size_t i = 0; i < sources_.size(); ++i) {
      const ArgSource& source = sources_[i];
      pointers[i] =
          source.output ? args.outputs[source.index].data : args.inputs[source.index].data;
    }
    // oneDNN's threads spin after a step; the other steps' loops belong on them.
    if (args.pool) args.pool->use_team(primitive_.api().parallel);
    dnnl::Error error;
    dnnl::Code code = primitive_.api().execute(primitive_.get(), pointers, args.workspace, &error);
    return code == dnnl::Code::kOk ? Status() : dnnl::to_status(code, error);
  }

 private:
  Primitive primitive_;
  std::vector<ArgSource> sources_;
  size_t scratchpad_;
};

class EmptyKernel final : public Kernel {
 public:
  Status run(const KernelArgs&) const override { return {}; }
};

PostOp eltwise(Eltwise kind, float alpha = 0, float beta = 0) {
  PostOp op;
  op.kind = PostOp::Kind::kEltwise;
  op.eltwise = kind;
  op.alpha = alpha;
  op.beta = beta;
  return op;
}

std::optional<float> scalar_constant(const BodyNode& node) {
  if (node.op->name != "constant") return std::nullopt;
  const Tensor& tensor = node.attrs.as<ConstantAttrs>().value;
  if (!tensor.defined() || tensor.count() != 1 || !is_float(tensor.dtype())) return std::nullopt;
  return static_cast<float>(read_elements<double>(tensor.view())[0]);
}

// A pointwise op of one operand as post-ops.
std::optional<std::vector<PostOp>> unary_post_ops(const PointwiseRow& row, const Attrs& attrs) {
  std::vector<PointwiseParam> params = row.params(attrs);
  auto param = [&](size_t i) {
    return i < params.size() ? static_cast<float>(params[i].value) : 0.0f;
  };
  switch (row.id) {
    case PointwiseId::kRelu:
      return {{eltwise(Eltwise::kRelu)}};
    case PointwiseId::kLeakyRelu:
      return {{eltwise(Eltwise::kRelu, param(0))}};
    case PointwiseId::kElu:
      return {{eltwise(Eltwise::kElu, param(0))}};
    case PointwiseId::kTanh:
      return {{eltwise(Eltwise::kTanh)}};
    case PointwiseId::kSigmoid:
      return {{eltwise(Eltwise::kSigmoid)}};
    case PointwiseId::kAbs:
      return {{eltwise(Eltwise::kAbs)}};
    case PointwiseId::kSquare:
      return {{eltwise(Eltwise::kSquare)}};
    case PointwiseId::kSqrt:
      return {{eltwise(Eltwise::kSqrt)}};
    case PointwiseId::kExp:
      return {{eltwise(Eltwise::kExp)}};
    case PointwiseId::kLog:
      return {{eltwise(Eltwise::kLog)}};
    case PointwiseId::kNeg:
      return {{eltwise(Eltwise::kLinear, -1, 0)}};
    case PointwiseId::kSoftplus:
      return {{eltwise(Eltwise::kSoftplus)}};
    case PointwiseId::kSwish:
      return {{eltwise(Eltwise::kSwish, param(0))}};
    case PointwiseId::kMish:
      return {{eltwise(Eltwise::kMish)}};
    case PointwiseId::kHardSwish:
      return {{eltwise(Eltwise::kHardSwish)}};
    case PointwiseId::kHardSigmoid:
      return {{eltwise(Eltwise::kLinear, param(0), param(1)), eltwise(Eltwise::kClip, 0, 1)}};
    case PointwiseId::kGelu:
      return {{eltwise(param(0) == 0 ? Eltwise::kGeluErf : Eltwise::kGeluTanh)}};
    default:
      return std::nullopt;
  }
}

// `value op constant` (or the other way round) as a post-op.
std::optional<PostOp> constant_post_op(PointwiseId id, float c, bool constant_first) {
  switch (id) {
    case PointwiseId::kAdd:
      return eltwise(Eltwise::kLinear, 1, c);
    case PointwiseId::kSub:
      return constant_first ? eltwise(Eltwise::kLinear, -1, c) : eltwise(Eltwise::kLinear, 1, -c);
    case PointwiseId::kMul:
      return eltwise(Eltwise::kLinear, c, 0);
    case PointwiseId::kDiv:
      if (constant_first || c == 0) return std::nullopt;
      return eltwise(Eltwise::kLinear, 1 / c, 0);
    case PointwiseId::kMax:
      return eltwise(Eltwise::kClip, c, std::numeric_limits<float>::infinity());
    case PointwiseId::kMin:
      return eltwise(Eltwise::kClip, -std::numeric_limits<float>::infinity(), c);
    default:
      return std::nullopt;
  }
}

// oneDNN 2.6 gives wrong values when a chain has one function twice with other parameters.
bool repeats_function(const std::vector<TailOp>& tail) {
  for (size_t i = 0; i < tail.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const PostOp& a = tail[i].post_op;
      const PostOp& b = tail[j].post_op;
      bool same_function = tail[i].input < 0 && tail[j].input < 0 && a.eltwise == b.eltwise;
      if (same_function && (a.alpha != b.alpha || a.beta != b.beta || a.scale != b.scale)) {
        return true;
      }
    }
  }
  return false;
}

// Two kLinear in a row are one.
void append(const PostOp& op, std::vector<TailOp>& tail) {
  bool linear = op.eltwise == Eltwise::kLinear;
  if (linear && !tail.empty() && tail.back().input < 0 &&
      tail.back().post_op.eltwise == Eltwise::kLinear) {
    PostOp& last = tail.back().post_op;
    last.beta = op.alpha * last.beta + op.beta;
    last.alpha *= op.alpha;
    return;
  }
  tail.push_back({op, -1});
}

std::optional<dnnl::Binary> binary_kind(PointwiseId id) {
  switch (id) {
    case PointwiseId::kAdd:
      return dnnl::Binary::kAdd;
    case PointwiseId::kSub:
      return dnnl::Binary::kSub;
    case PointwiseId::kMul:
      return dnnl::Binary::kMul;
    case PointwiseId::kDiv:
      return dnnl::Binary::kDiv;
    case PointwiseId::kMax:
      return dnnl::Binary::kMax;
    case PointwiseId::kMin:
      return dnnl::Binary::kMin;
    default:
      return std::nullopt;
  }
}

}  // namespace

Result<const Api*> onednn_api(const PrepareArgs& args) {
  REDLINE_ASSIGN(const Api* api, dnnl::load());
  args.pool->use_team(api->parallel);
  return api;
}

std::optional<dnnl::DataType> onednn_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return dnnl::DataType::kF32;
    case DType::kInt8:
      return dnnl::DataType::kS8;
    case DType::kUInt8:
      return dnnl::DataType::kU8;
    case DType::kInt32:
      return dnnl::DataType::kS32;
    case DType::kBFloat16:
      return dnnl::DataType::kBf16;
    default:
      return std::nullopt;
  }
}

Result<MemoryDesc> onednn_desc(const Api& api, DType dtype, std::span<const int64_t> dims,
                               dnnl::Format format) {
  std::optional<dnnl::DataType> type = onednn_type(dtype);
  if (!type) return unsupported("element type ", dtype_name(dtype), " in oneDNN");
  MemoryDesc desc;
  dnnl::Error error;
  dnnl::Code code = api.desc_create(*type, static_cast<int32_t>(dims.size()), dims.data(), format,
                                    nullptr, &desc, &error);
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  return desc;
}

Result<Region> match_region(const Problem& problem, std::string_view anchor) {
  Region region;
  if (problem.op->name == anchor) {
    region.own_anchor = {problem.op, problem.attrs, {}, static_cast<int>(problem.outputs.size())};
    for (size_t i = 0; i < problem.inputs.size(); ++i) {
      region.anchor_inputs.push_back(problem.inputs[i].present ? static_cast<int>(i) : -1);
    }
    return region;
  }
  if (!problem.is("fused")) return unsupported("not a region of ", anchor);
  const Body& body = *problem.attrs.as<FusedAttrs>().body;
  const BodyNode* found = find_anchor(body);
  if (found == nullptr || found->op->name != anchor) return unsupported("not a region of ", anchor);
  if (problem.outputs.size() != 1) return unsupported("several outputs");
  region.own_anchor = *found;
  int value = body.num_inputs;
  int chain = -1;  // the value that the next op of the tail must take
  std::vector<const BodyNode*> maker(static_cast<size_t>(body.num_inputs));
  for (const BodyNode& node : body.nodes) {
    int own = value;
    value += node.num_outputs;
    for (int i = 0; i < node.num_outputs; ++i) maker.push_back(&node);
    if (node.op->name == "constant") continue;
    if (&node == found) {
      for (int input : node.inputs) {
        if (input >= body.num_inputs) return unsupported("ops before the anchor");
      }
      region.anchor_inputs = node.inputs;
      chain = own;
      continue;
    }
    const PointwiseRow* row = find_pointwise(node.op->name);
    if (row == nullptr) return unsupported("op '", node.op->name, "' behind the anchor");
    if (chain < 0) return unsupported("ops before the anchor");
    size_t at = 0;
    size_t taken = 0;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == chain) {
        at = i;
        ++taken;
      }
    }
    if (taken != 1) return unsupported("a tail that is not a chain");
    chain = own;
    if (row->arity == 1) {
      std::optional<std::vector<PostOp>> ops = unary_post_ops(*row, node.attrs);
      if (!ops) return unsupported("op '", node.op->name, "' as a post-op");
      for (const PostOp& op : *ops) append(op, region.tail);
      continue;
    }
    auto constant_at = [&](size_t i) -> std::optional<float> {
      if (i >= node.inputs.size() || node.inputs[i] < body.num_inputs) return std::nullopt;
      return scalar_constant(*maker[static_cast<size_t>(node.inputs[i])]);
    };
    if (row->id == PointwiseId::kClip && at == 0) {
      constexpr float kInf = std::numeric_limits<float>::infinity();
      auto given = [&](size_t i) { return i < node.inputs.size() && node.inputs[i] >= 0; };
      std::optional<float> low = given(1) ? constant_at(1) : -kInf;
      std::optional<float> high = given(2) ? constant_at(2) : kInf;
      if (!low || !high) return unsupported("clip with bounds that are not constant");
      append(eltwise(Eltwise::kClip, *low, *high), region.tail);
      continue;
    }
    if (row->arity != 2) return unsupported("op '", node.op->name, "' as a post-op");
    size_t other = 1 - at;
    if (std::optional<float> c = constant_at(other)) {
      std::optional<PostOp> op = constant_post_op(row->id, *c, at == 1);
      if (!op) return unsupported("op '", node.op->name, "' with a constant as a post-op");
      append(*op, region.tail);
      continue;
    }
    std::optional<dnnl::Binary> kind = binary_kind(row->id);
    bool ordered = row->id == PointwiseId::kSub || row->id == PointwiseId::kDiv;
    if (!kind || (ordered && at == 1)) return unsupported("op '", node.op->name, "' as a post-op");
    if (node.inputs[other] < 0 || node.inputs[other] >= body.num_inputs) {
      return unsupported("an operand made inside the region");
    }
    TailOp op;
    op.post_op.kind = PostOp::Kind::kBinary;
    op.post_op.binary = *kind;
    op.input = node.inputs[other];
    region.tail.push_back(op);
  }
  if (body.outputs[0] != chain) return unsupported("an output inside the chain");
  if (repeats_function(region.tail)) return unsupported("a function twice among the post-ops");
  if (region.tail.size() > dnnl::kMaxPostOps)
    return unsupported("more than ", dnnl::kMaxPostOps, " post-ops");
  return region;
}

Result<Dims> anchor_output_dims(const Problem& problem, const Region& region) {
  const BodyNode& anchor = region.own_anchor;
  std::vector<Type> types(region.anchor_inputs.size());
  std::vector<InferInput> inputs(region.anchor_inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (region.anchor_inputs[i] < 0) continue;
    const OperandDesc& operand = problem.inputs[static_cast<size_t>(region.anchor_inputs[i])];
    types[i] = Type::tensor(operand.dtype, Shape::of(operand.dims));
    inputs[i] = {&types[i], operand.constant, nullptr};
  }
  InferContext infer(*anchor.op, anchor.attrs, inputs, static_cast<size_t>(anchor.num_outputs));
  infer.make_symbol = [](std::string_view hint) { return Dim::symbol(std::string(hint)); };
  REDLINE_TRY(anchor.op->infer(infer));
  std::optional<Dims> dims = infer.outputs()[0].shape.as_static();
  if (!dims) return unsupported(anchor.op->name, " of sizes that only values tell");
  return *dims;
}

std::vector<dnnl::Arg> Primitive::args() const {
  dnnl::PrimitiveInfo info;
  api_->info(*primitive_, &info);
  std::vector<dnnl::Arg> result(static_cast<size_t>(info.arg_count));
  for (int32_t i = 0; i < info.arg_count; ++i)
    api_->arg(*primitive_, i, &result[static_cast<size_t>(i)]);
  return result;
}

size_t Primitive::scratchpad_bytes() const {
  dnnl::PrimitiveInfo info;
  api_->info(*primitive_, &info);
  return static_cast<size_t>(info.scratchpad_bytes);
}

std::string Primitive::slow_because() const {
  dnnl::PrimitiveInfo info;
  api_->info(*primitive_, &info);
  std::string_view name = info.implementation;
  if (!name.starts_with("ref")) return {};
  return str_cat("oneDNN has only reference code for it (", name, ")");
}

Result<std::unique_ptr<Kernel>> make_primitive_kernel(Primitive primitive,
                                                      std::vector<ArgSource> sources) {
  size_t count = primitive.args().size();
  if (count != sources.size() || count > kMaxArgs) {
    return internal_error("primitive takes ", count, " arguments, got ", sources.size());
  }
  return std::unique_ptr<Kernel>(
      std::make_unique<PrimitiveKernel>(std::move(primitive), std::move(sources)));
}

std::unique_ptr<Kernel> make_empty_kernel() { return std::make_unique<EmptyKernel>(); }

Result<Tensor> reorder_constant(const Api& api, const void* data, const MemoryDesc& from,
                                const MemoryDesc& to) {
  dnnl::Error error;
  dnnl::Primitive* primitive = nullptr;
  dnnl::Options options;
  options.allow_reference = true;  // once, at build time
  dnnl::Code code = api.reorder({from, to}, options, &primitive, &error);
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  Primitive owned(&api, primitive);
  REDLINE_ASSIGN(Tensor packed, Tensor::create(DType::kUInt8, {api.desc_bytes(to)}));
  REDLINE_ASSIGN(Tensor scratch,
                 Tensor::create(DType::kUInt8, {static_cast<int64_t>(owned.scratchpad_bytes())}));
  void* pointers[2] = {const_cast<void*>(data), packed.mutable_raw()};
  code = api.execute(*primitive, pointers, scratch.mutable_raw(), &error);
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  return packed;
}

std::string packing_library() {
  Result<const Api*> api = dnnl::load();
  return api.ok() ? str_cat("onednn ", (*api)->version, " ", (*api)->isa) : std::string();
}

}  // namespace redline
