// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "tactics/cpu/onednn_step.h"

namespace redline {
namespace {

namespace dnnl = kernels::onednn;

// With a right-hand matrix that all batches share, the left-hand rows are one long matrix.
bool shares_matrix(const Problem& problem, const Region& region) {
  return problem.inputs[static_cast<size_t>(region.anchor_inputs[1])].dims.rank() == 2;
}

// Sizes of an operand of the output's kind (a, b, tail operands) in the product's own rank.
Result<Dims> product_dims(const Dims& dims, int rank, bool flatten, const Dims& out) {
  if (!flatten) {
    Dims result;
    for (int i = dims.rank(); i < rank; ++i) result.push_back(1);
    for (int64_t dim : dims) result.push_back(dim);
    return result;
  }
  if (dims == out) return Dims{dims.count(0, dims.rank() - 1), dims.back()};
  // One row for all, or one value for all.
  int64_t last = dims.rank() == 0 ? 1 : dims.back();
  if (dims.count() == last && (last == out.back() || last == 1)) return Dims{1, last};
  return unsupported("operand ", dims.to_string(), " against rows of ", out.to_string());
}

Status supports(const Problem& problem) {
  REDLINE_ASSIGN(Region region, match_region(problem, "matmul"));
  for (const OperandDesc& input : problem.inputs) {
    if (input.dtype != DType::kFloat32 || !input.has_rank)
      return unsupported("takes f32 of known rank");
  }
  const Dims& a = problem.inputs[static_cast<size_t>(region.anchor_inputs[0])].dims;
  const Dims& b = problem.inputs[static_cast<size_t>(region.anchor_inputs[1])].dims;
  if (a.rank() < 2 || b.rank() < 2) return unsupported("products with a vector");
  const OperandDesc& out = problem.outputs[0];
  if (out.dtype != DType::kFloat32 || !out.has_rank || out.dims.rank() > dnnl::kMaxDims) {
    return unsupported("output of another type or rank");
  }
  bool flatten = shares_matrix(problem, region);
  for (const TailOp& op : region.tail) {
    if (op.input < 0) continue;
    const Dims& dims = problem.inputs[static_cast<size_t>(op.input)].dims;
    if (dims.rank() > out.dims.rank()) return unsupported("operand of a higher rank");
    if (flatten) {
      REDLINE_TRY(product_dims(dims, 2, true, out.dims).status());
      continue;
    }
    // Operands that stretch over some of the batch axes only get slow reference code.
    int64_t last = dims.rank() == 0 ? 1 : dims.back();
    bool row = dims.count() == last && (last == out.dims.back() || last == 1);
    if (!(dims == out.dims) && !row)
      return unsupported("operand ", dims.to_string(), " against batches");
  }
  return kernels::onednn::load().status();
}

// A sum over nothing is zero, but what follows the product still applies: oneDNN, which knows no
// sizes of zero, gets an inner size of one and zeros in place of both operands.
class EmptySumKernel final : public Kernel {
 public:
  static constexpr size_t kMaxInputs = 16;

  EmptySumKernel(std::unique_ptr<Kernel> product, size_t a, size_t b, Tensor zeros)
      : product_(std::move(product)), a_(a), b_(b), zeros_(std::move(zeros)) {}
  size_t workspace_bytes() const override { return product_->workspace_bytes(); }
  Status run(const KernelArgs& args) const override {
    std::array<TensorView, kMaxInputs> inputs;
    std::copy(args.inputs.begin(), args.inputs.end(), inputs.begin());
    inputs[a_].data = inputs[b_].data = const_cast<void*>(zeros_.raw());
    KernelArgs replaced = args;
    replaced.inputs = std::span(inputs).first(args.inputs.size());
    return product_->run(replaced);
  }

 private:
  std::unique_ptr<Kernel> product_;
  size_t a_;
  size_t b_;
  Tensor zeros_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  if (problem.outputs[0].dims.count() == 0) return make_empty_kernel();
  REDLINE_ASSIGN(Region region, match_region(problem, "matmul"));
  REDLINE_ASSIGN(const Api* api, onednn_api(args));
  auto ai = static_cast<size_t>(region.anchor_inputs[0]);
  auto bi = static_cast<size_t>(region.anchor_inputs[1]);
  const Dims& a = problem.inputs[ai].dims;
  const Dims& b = problem.inputs[bi].dims;
  const Dims& out = problem.outputs[0].dims;
  bool flatten = shares_matrix(problem, region);
  int rank = flatten ? 2 : std::max(a.rank(), b.rank());
  auto desc = [&](const Dims& dims) {
    return onednn_desc(*api, DType::kFloat32, {dims.begin(), dims.size()});
  };
  Dims a_dims = flatten ? Dims{a.count(0, a.rank() - 1), a.back()}
                        : product_dims(a, rank, false, out).value();
  Dims b_dims = flatten ? b : product_dims(b, rank, false, out).value();
  REDLINE_ASSIGN(Dims out_dims, product_dims(out, rank, flatten, out));
  const bool empty_sum = a_dims.back() == 0;
  if (empty_sum) a_dims[a_dims.size() - 1] = b_dims[b_dims.size() - 2] = 1;
  dnnl::MatMul product;
  REDLINE_ASSIGN(product.src, desc(a_dims));
  REDLINE_ASSIGN(product.weights, desc(b_dims));
  REDLINE_ASSIGN(product.dst, desc(out_dims));
  std::vector<dnnl::PostOp> post_ops;
  std::vector<MemoryDesc> operands(region.tail.size());
  std::vector<ArgSource> sources = {{false, ai}, {false, bi}, {true, 0}};
  for (size_t i = 0; i < region.tail.size(); ++i) {
    dnnl::PostOp op = region.tail[i].post_op;
    if (region.tail[i].input >= 0) {
      auto input = static_cast<size_t>(region.tail[i].input);
      REDLINE_ASSIGN(Dims dims, product_dims(problem.inputs[input].dims, rank, flatten, out));
      REDLINE_ASSIGN(operands[i], desc(dims));
      op.operand = &operands[i];
      sources.push_back({false, input});
    }
    post_ops.push_back(op);
  }
  dnnl::Options options;
  options.post_ops = post_ops.data();
  options.post_op_count = static_cast<int32_t>(post_ops.size());
  options.threads = args.num_threads();
  dnnl::Primitive* primitive = nullptr;
  dnnl::Error error;
  dnnl::Code code = api->matmul(product, options, &primitive, &error);
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  REDLINE_ASSIGN(std::unique_ptr<Kernel> kernel,
                 make_primitive_kernel(Primitive(api, primitive), std::move(sources)));
  if (!empty_sum) return kernel;
  if (problem.inputs.size() > EmptySumKernel::kMaxInputs) {
    return unsupported("an empty sum with more than ", EmptySumKernel::kMaxInputs, " operands");
  }
  REDLINE_ASSIGN(Tensor zeros,
                 Tensor::create(DType::kFloat32, Dims{std::max(a_dims.count(), b_dims.count())}));
  return std::unique_ptr<Kernel>(
      std::make_unique<EmptySumKernel>(std::move(kernel), ai, bi, std::move(zeros)));
}

}  // namespace

void register_tactic_onednn_matmul(TacticRegistry& registry) {
  registry.add({.name = "cpu.onednn.matmul",
                .device = "cpu",
                .ops = {"matmul", "fused"},
                .supports = supports,
                .prepare = prepare,
                .preference = 20,
                .library = packing_library});
}

}  // namespace redline
