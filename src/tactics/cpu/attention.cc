// SPDX-License-Identifier: Apache-2.0
#include "ops/attention.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/attention/attention.h"
#include "ops/elements.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

constexpr size_t kMask = 3;
constexpr size_t kPastK = 4;
constexpr size_t kLengths = 6;
constexpr size_t kQk = 3;  // the output
constexpr int64_t kAlign = 16;

int64_t align(int64_t elems) { return (elems + kAlign - 1) / kAlign * kAlign; }

Status supports(const Problem& problem) {
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const OperandDesc& input = problem.inputs[i];
    bool attend = i == kMask && input.dtype == DType::kBool;
    if (!input.has_rank) return unsupported("takes operands of known rank");
    if (i != kLengths && !attend) REDLINE_TRY(expect_f32(input));
  }
  if (has_operand(problem.outputs, kQk)) return unsupported("does not keep the scores");
  return {};
}

// One of q, k, v, y: its sizes and how its heads lie.
struct Operand {
  int64_t batch, heads, rows, size;
  kernels::HeadStrides strides;
  int64_t first = 0;  // element
};

Operand operand(const Dims& dims, int64_t heads) {
  if (dims.rank() == 4) {
    return {dims[0],
            dims[1],
            dims[2],
            dims[3],
            {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3]}};
  }
  int64_t size = dims[2] / heads;
  return {dims[0], heads, dims[1], size, {dims[1] * dims[2], size, dims[2]}};
}

Operand operand(const Problem& problem, size_t i) {
  const auto& attrs = problem.attrs.as<AttentionAttrs>();
  Operand own = operand(problem.inputs[i].dims, row_heads(attrs, i));
  if (attrs.packed) own.heads = operand_heads(attrs, i);
  own.first = first_head(attrs, i) * own.size;
  return own;
}

class AttentionKernel final : public Kernel {
 public:
  AttentionKernel(const Problem& problem, int threads)
      : table_(kernels::attention_kernels(kernels::detect_isa())) {
    const auto& attrs = problem.attrs.as<AttentionAttrs>();
    Operand q = operand(problem, 0);
    Operand y = operand(problem.outputs[0].dims, attrs.q_heads);
    now_ = {operand(problem, 1), operand(problem, 2)};
    has_past_ = has_operand(problem.inputs, kPastK);
    args_.past = has_past_ ? problem.inputs[kPastK].dims[2] : 0;
    args_.batch = q.batch;
    args_.heads = q.heads;
    args_.group = now_[0].heads > 0 ? q.heads / now_[0].heads : 1;
    args_.queries = q.rows;
    args_.keys = args_.past + now_[0].rows;
    args_.size = q.size;
    args_.v_size = now_[1].size;
    args_.q_strides = q.strides;
    args_.y_strides = y.strides;
    args_.scale = attrs.scale ? *attrs.scale : 1 / std::sqrt(static_cast<float>(q.size));
    args_.softcap = attrs.softcap;
    args_.left_window = attrs.left_window;
    args_.right_window = attrs.causal ? 0 : attrs.right_window;
    for (size_t i : {0, 1}) {
      keeps_[i] = has_operand(problem.outputs, i + 1);
      const Operand& now = now_[i];
      present_[i] = operand({now.batch, now.heads, args_.keys, now.size}, 0);
    }
    args_.k_strides = has_past_ ? present_[0].strides : now_[0].strides;
    args_.v_strides = has_past_ ? present_[1].strides : now_[1].strides;
    if (has_operand(problem.inputs, kMask)) set_mask(problem.inputs[kMask]);
    empty_ = problem.outputs[0].dims.count() == 0;
    scratch_ = align(table_.scratch_elems(args_));
    workspace_ = scratch_ * threads + align(converted_);
    for (size_t i : {0, 1}) {
      if (has_past_ && !keeps_[i]) workspace_ += align(present_elems(i));
    }
  }

  size_t workspace_bytes() const override { return static_cast<size_t>(workspace_) * 4; }

  Status run(const KernelArgs& args) const override {
    kernels::AttentionArgs a = args_;
    a.q = args.inputs[0].as<const float>();
    a.y = args.outputs[0].as<float>();
    auto* scratch = static_cast<float*>(args.workspace);
    float* rest = scratch + workspace_;
    a.k = cached(0, args, rest);
    a.v = cached(1, args, rest);
    if (has_mask_) a.mask = mask(args, rest);
    if (has_operand_view(args, kLengths)) a.lengths = args.inputs[kLengths].as<const int64_t>();
    if (empty_) return {};
    int64_t units = table_.units(a);
    int64_t total = a.batch * a.heads * a.queries * (a.keys + 1) * (a.size + a.v_size);
    int64_t grain = std::max<int64_t>(1, 300000 * units / std::max<int64_t>(total, 1));
    args.pool->parallel_for_worker(units, grain, [&](int64_t begin, int64_t end, int worker) {
      table_.attention(a, scratch + worker * scratch_, begin, end);
    });
    return {};
  }

 private:
  static bool has_operand_view(const KernelArgs& args, size_t i) {
    return i < args.inputs.size() && args.inputs[i].data != nullptr;
  }
  int64_t present_elems(size_t i) const {
    const Operand& p = present_[i];
    return p.batch * p.heads * p.rows * p.size;
  }

  void set_mask(const OperandDesc& mask) {
    has_mask_ = true;
    int64_t keys = mask.dims.back();
    args_.keys = std::min(args_.keys, keys);  // the others are hidden
    Dims leading(std::span(mask.dims.begin(), mask.dims.size() - 1));
    Dims strides = broadcast_strides(leading, Dims{args_.batch, args_.heads, args_.queries});
    args_.mask_strides = {strides[0] * keys, strides[1] * keys, strides[2] * keys};
    if (mask.dtype == DType::kBool) converted_ = mask.dims.count();
  }

  // A mask of bools as numbers to add.
  const float* mask(const KernelArgs& args, float*& rest) const {
    if (converted_ == 0) return args.inputs[kMask].as<const float>();
    rest -= align(converted_);
    float* to = rest;
    const auto* from = static_cast<const uint8_t*>(args.inputs[kMask].data);
    constexpr float kHidden = -std::numeric_limits<float>::infinity();
    args.pool->parallel_for(converted_, 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = from[i] != 0 ? 0.0f : kHidden;
    });
    return to;
  }

  // Keys or values with the past before them, where there is one or they are kept.
  const float* cached(size_t i, const KernelArgs& args, float*& rest) const {
    const float* now = args.inputs[i + 1].as<const float>() + now_[i].first;
    if (!has_past_ && !keeps_[i]) return now;
    if (!keeps_[i]) rest -= align(present_elems(i));
    float* to = keeps_[i] ? args.outputs[i + 1].as<float>() : rest;
    const float* past = has_past_ ? args.inputs[kPastK + i].as<const float>() : nullptr;
    const Operand& from = now_[i];
    int64_t row_bytes = from.size * 4;
    int64_t old = args_.past * from.size;
    int64_t head = present_[i].rows * from.size;
    args.pool->parallel_for(
        from.batch * from.heads, loop_grain(head), [&](int64_t begin, int64_t end) {
          for (int64_t h = begin; h < end; ++h) {
            float* out = to + h * head;
            if (old > 0) std::memcpy(out, past + h * old, static_cast<size_t>(old) * 4);
            const float* in =
                now + h / from.heads * from.strides.batch + h % from.heads * from.strides.head;
            for (int64_t r = 0; r < from.rows && row_bytes > 0; ++r) {
              std::memcpy(out + old + r * from.size, in + r * from.strides.row,
                          static_cast<size_t>(row_bytes));
            }
          }
        });
    return has_past_ ? to : now;
  }

  const kernels::AttentionKernels& table_;
  kernels::AttentionArgs args_;
  std::array<Operand, 2> now_{};      // keys and values that are given
  std::array<Operand, 2> present_{};  // ... with the past before them
  std::array<bool, 2> keeps_{};
  bool has_past_ = false;
  bool has_mask_ = false;
  bool empty_ = false;
  int64_t converted_ = 0;
  int64_t scratch_ = 0;
  int64_t workspace_ = 0;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  auto kernel = std::make_unique<AttentionKernel>(problem, args.num_threads());
  if (problem.inputs[1].dims[problem.inputs[1].dims.size() - 2] >
      std::numeric_limits<int32_t>::max()) {
    return unsupported("more than 2^31 keys");
  }
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_attention(TacticRegistry& registry) {
  registry.add({.name = "cpu.attention",
                .device = "cpu",
                .ops = {"attention"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
