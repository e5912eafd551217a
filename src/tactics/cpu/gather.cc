// SPDX-License-Identifier: Apache-2.0
#include "ops/gather.h"

#include <atomic>

#include "kernels/cpu/movement/movement.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Status supports(const Problem& problem) {
  const OperandDesc& data = problem.inputs[0];
  if (!data.is_tensor || !data.has_rank) return unsupported("takes tensors of known rank");
  if (data.dtype == DType::kString) return unsupported("takes elements of fixed size");
  const OperandDesc& indices = problem.inputs[1];
  if (!indices.has_rank) return unsupported("indices of unknown rank");
  if (indices.dtype != DType::kInt32 && indices.dtype != DType::kInt64) {
    return unsupported("takes indices of i32 or i64, not ", dtype_name(indices.dtype));
  }
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const OperandDesc& data = problem.inputs[0];
  int axis = loop_axis(problem.attrs.as<GatherAttrs>().axis, data.dims);
  int64_t size = data.dims[static_cast<size_t>(axis)];
  int64_t count = problem.inputs[1].dims.count();
  int64_t rows = data.dims.count(0, axis) * count;
  int64_t row_bytes =
      data.dims.count(axis + 1, data.dims.rank()) * static_cast<int64_t>(dtype_bytes(data.dtype));
  int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(row_bytes, 8));
  bool wide = problem.inputs[1].dtype == DType::kInt64;
  auto gather = kernels::movement_kernels(kernels::detect_isa()).gather;
  return make_loop_kernel([=](const KernelArgs& args) -> Status {
    const void* indices = args.inputs[1].data;
    std::atomic<int64_t> bad = -1;
    args.pool->parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
      int64_t at = gather(args.inputs[0].data, size, row_bytes, indices, wide, count,
                          args.outputs[0].data, begin, end);
      if (at >= 0) bad.store(at, std::memory_order_relaxed);
    });
    int64_t at = bad.load(std::memory_order_relaxed);
    if (at < 0) return {};
    int64_t index =
        wide ? static_cast<const int64_t*>(indices)[at] : static_cast<const int32_t*>(indices)[at];
    return invalid_argument("index ", index, " (element ", at,
                            " of the indices) is out of range for axis ", axis, " of size ", size);
  });
}

}  // namespace

void register_tactic_gather(TacticRegistry& registry) {
  registry.add({.name = "cpu.gather",
                .device = "cpu",
                .ops = {"gather"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
