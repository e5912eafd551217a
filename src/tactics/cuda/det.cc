// SPDX-License-Identifier: Apache-2.0
#include "ops/op.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/staged_kernel.h"

namespace redline {
namespace {

// n0 rows and columns; a copy of each matrix in double at n1.
Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  return staged_sources(
      problem,
      {{"det",
        "  const i64 first = (i64)blockIdx.x * n0 * n0;\n"
        "  double* a = (double*)(workspace + n1) + first;\n"
        "  for (i64 i = (int)threadIdx.x; i < n0 * n0; i += 256) a[i] = (double)widen(in0[first + "
        "i]);\n"
        "  __syncthreads();\n"
        "  const double result = determinant(a, n0);\n"
        "  if (threadIdx.x == 0) narrow(&out0[blockIdx.x], result);\n"}},
      {.files = {"det.cuh"}, .numbers = 2}, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  const Dims& dims = problem.inputs[0].dims;
  if (dims.rank() < 2 || dims.back() != dims[dims.size() - 2]) {
    return invalid_argument("matrices are not square");
  }
  WorkspaceLayout layout;
  int64_t copy = layout.add(dims.count() * static_cast<int64_t>(sizeof(double)));
  auto kernel = std::make_unique<StagedKernel>("cuda.det", static_cast<size_t>(layout.bytes()));
  REDLINE_TRY(
      kernel->add_run(args, 0, "det", problem.outputs[0].dims.count(), -1, {dims.back(), copy}));
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_det(TacticRegistry& registry) {
  registry.add({.name = "cuda.det",
                .device = "cuda",
                .ops = {"det"},
                .supports = staged_supports,
                .kernels = kernels,
                .prepare = prepare,
                .version = 2});
}

}  // namespace redline
