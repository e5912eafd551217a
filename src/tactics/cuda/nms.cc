// SPDX-License-Identifier: Apache-2.0
#include "ops/roi.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/staged_kernel.h"

// A block for each class of each batch takes the best box left and drops those that overlap it,
// until none is left.
namespace redline {
namespace {

constexpr int64_t kMostBoxes = int64_t{1} << 30;

// n0 classes of all batches, n1 boxes, sums at n2, bytes a box at n3, what is kept at n4, n5
// classes.
constexpr size_t kNumbers = 6;

std::string scalar(const Problem& problem, size_t i, const char* fallback) {
  bool there = i < problem.inputs.size() && problem.inputs[i].present;
  return there ? str_cat("widen(in", i, "[0])") : fallback;
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  bool centre = problem.attrs.as<NonMaxSuppressionAttrs>().center_point_box;
  std::string sums = "  i64* sums = (i64*)(workspace + n2);\n";
  std::string kept = "  i32* kept = (i32*)(workspace + n4) + (i64)blockIdx.x * n1;\n";
  std::string suppress =
      str_cat("  const i64 most = saturating_i64((double)", scalar(problem, 2, "0.0"),
              ", 0, n1);\n", "  const i64 found = suppress<", centre ? "true" : "false",
              ">(in0 + blockIdx.x / n5 * n1 * 4, in1 + (i64)blockIdx.x * n1, n1, most, (double)",
              scalar(problem, 4, "(-INFINITY)"), ", (double)", scalar(problem, 3, "0.0"),
              ", (u8*)(workspace + n3) + (i64)blockIdx.x * n1, kept);\n",
              "  if (threadIdx.x == 0) sums[blockIdx.x] = found;\n");
  std::string write =
      "  const i64 first = sums[blockIdx.x];\n"
      "  const i64 end = blockIdx.x + 1 < n0 ? sums[blockIdx.x + 1] : *(const i64*)workspace;\n"
      "  for (i64 i = first + (int)threadIdx.x; i < end; i += 256) {\n"
      "    out0[i * 3] = blockIdx.x / n5;\n    out0[i * 3 + 1] = blockIdx.x % n5;\n"
      "    out0[i * 3 + 2] = kept[i - first];\n  }\n";
  return staged_sources(problem,
                        {{"nms_suppress", sums + kept + suppress},
                         {"nms_sum", str_cat(sums, "  sum_tiles(n0, sums, (i64*)workspace);\n")},
                         {"nms_write", sums + kept + write}},
                        {.files = {"find/select.cuh", "find/nms.cuh"}, .numbers = kNumbers},
                        device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  const Dims& boxes = problem.inputs[0].dims;
  const Dims& scores = problem.inputs[1].dims;
  if (boxes[0] != scores[0] || boxes[1] != scores[2] || boxes[2] != 4) {
    return invalid_argument("boxes of sizes ", boxes.to_string(), " for scores of sizes ",
                            scores.to_string());
  }
  for (size_t i = 2; i < problem.inputs.size(); ++i) {
    if (!problem.inputs[i].present || problem.inputs[i].dims.count() == 1) continue;
    return invalid_argument("input ", i, " has ", problem.inputs[i].dims.count(),
                            " elements, expected 1");
  }
  int64_t count = boxes[1];
  int64_t rows = scores[0] * scores[1];
  if (count > kMostBoxes || rows > INT32_MAX) return unsupported("more boxes than ", kMostBoxes);
  WorkspaceLayout layout;
  int64_t sums = layout.add(rows * 8);
  int64_t dead = layout.add(rows * count);
  int64_t kept = layout.add(rows * count * 4);
  std::vector<int64_t> numbers = {rows, count, sums, dead, kept, scores[1]};
  auto kernel = std::make_unique<StagedKernel>("cuda.nms", static_cast<size_t>(layout.bytes()),
                                               [](int64_t found) {
                                                 return std::vector<Dims>{Dims{found, 3}};
                                               });
  REDLINE_TRY(kernel->add_find(args, 0, "nms_suppress", rows, numbers));
  REDLINE_TRY(kernel->add_find(args, 1, "nms_sum", 1, numbers));
  REDLINE_TRY(kernel->add_run(args, 2, "nms_write", rows, -1, numbers));
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_nms(TacticRegistry& registry) {
  registry.add({.name = "cuda.nms",
                .device = "cuda",
                .ops = {"non_max_suppression"},
                .supports = staged_supports,
                .kernels = kernels,
                .prepare = prepare,
                .version = 2});
}

}  // namespace redline
