// SPDX-License-Identifier: Apache-2.0
#include "ops/rotary_embedding.h"

#include <atomic>

#include "kernels/cpu/rotary/rotary.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

constexpr size_t kPositions = 3;

Status supports(const Problem& problem) {
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const OperandDesc& input = problem.inputs[i];
    if (i < kPositions) {
      REDLINE_TRY(expect_f32(input));
    } else if (input.present && (input.dtype != DType::kInt64 || !input.has_rank)) {
      return unsupported("takes positions as i64 of known rank, not ", dtype_name(input.dtype));
    }
  }
  return {};
}

struct Rotary {
  int64_t batch, heads, sequence, size, half;
  int64_t head_pitch, row_pitch, batch_pitch;
  int64_t cache_rows;
  bool interleaved;
  bool has_positions;
  bool start;  // one position, that of the first row
};

// The row of the caches for row s of sample b; negative when there is none.
int64_t cache_row(const Rotary& r, const int64_t* positions, int64_t b, int64_t s) {
  if (!r.has_positions) return b * r.sequence + s;
  if (r.start) {
    int64_t from = positions[0];
    return from < 0 || from >= r.cache_rows - s ? -1 : from + s;
  }
  int64_t position = positions[b * r.sequence + s];
  if (position < 0) position += r.cache_rows;
  return position >= r.cache_rows ? -1 : position;
}

Status rotate(const Rotary& r, const kernels::RotaryKernels& table, const KernelArgs& args) {
  const auto* x = args.inputs[0].as<const float>();
  const auto* cosines = args.inputs[1].as<const float>();
  const auto* sines = args.inputs[2].as<const float>();
  const int64_t* positions =
      r.has_positions ? args.inputs[kPositions].as<const int64_t>() : nullptr;
  auto* y = args.outputs[0].as<float>();
  auto turn = r.interleaved ? table.pairs : table.halves;
  std::atomic<int64_t> beyond{-1};
  args.pool->parallel_for(r.batch * r.sequence, loop_grain(r.heads * r.size),
                          [&](int64_t begin, int64_t end) {
                            for (int64_t i = begin; i < end; ++i) {
                              int64_t b = i / r.sequence;
                              int64_t s = i % r.sequence;
                              int64_t row = cache_row(r, positions, b, s);
                              if (row < 0) {
                                beyond.store(i, std::memory_order_relaxed);
                                return;
                              }
                              int64_t at = b * r.batch_pitch + s * r.row_pitch;
                              turn(x + at, cosines + row * r.half, sines + row * r.half, r.half,
                                   r.size, r.heads, r.head_pitch, y + at);
                            }
                          });
  if (int64_t i = beyond.load(); i >= 0) {
    return invalid_argument("position ", positions[r.start ? 0 : i],
                            r.start ? str_cat(" + ", i % r.sequence) : "", " is beyond the ",
                            r.cache_rows, " rows of the caches");
  }
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const auto& attrs = problem.attrs.as<RotaryEmbeddingAttrs>();
  const Dims& dims = problem.inputs[0].dims;
  if (problem.inputs[1].dims != problem.inputs[2].dims) {
    return invalid_argument("the caches differ in size: ", problem.inputs[1].dims.to_string(),
                            " and ", problem.inputs[2].dims.to_string());
  }
  bool split = dims.rank() == 4;
  Rotary r{};
  r.batch = dims[0];
  r.heads = split ? dims[1] : attrs.heads;
  r.sequence = split ? dims[2] : dims[1];
  r.size = split ? dims[3] : dims[2] / attrs.heads;
  r.half = (attrs.dim > 0 ? attrs.dim : r.size) / 2;
  r.head_pitch = split ? r.sequence * r.size : r.size;
  r.row_pitch = split ? r.size : r.heads * r.size;
  r.batch_pitch = r.heads * r.sequence * r.size;
  r.cache_rows = problem.inputs[1].dims[0];
  r.interleaved = attrs.interleaved;
  r.has_positions = has_operand(problem.inputs, kPositions);
  r.start = r.has_positions && problem.inputs[kPositions].dims.rank() < 2;
  const auto& table = kernels::rotary_kernels(kernels::detect_isa());
  return make_loop_kernel([r, &table](const KernelArgs& args) { return rotate(r, table, args); });
}

}  // namespace

void register_tactic_rotary_embedding(TacticRegistry& registry) {
  registry.add({.name = "cpu.rotary_embedding",
                .device = "cpu",
                .ops = {"rotary_embedding"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
