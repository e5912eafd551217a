// SPDX-License-Identifier: Apache-2.0
#include "ops/pool.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/staged_kernel.h"

// max_unpool: the output is cleared, each input claims the place that its index names, and the last
// of those that claimed the same one is written there.
namespace redline {
namespace {

constexpr int64_t kMostInputs = int64_t{1} << 30;  // numbered in 32 bits
constexpr size_t kMostAxes = 8;

enum Number : size_t {
  kInputs,
  kPooled,   // places that an index may name
  kWinners,  // of each such place: its last input
  kBytes,    // of the output
  kAxes,     // from here on the pooled size, the output's size and its stride of each axis
  kNumbers = kAxes + 3 * kMostAxes
};

Status supports(const Problem& problem) {
  REDLINE_TRY(staged_supports(problem));
  const Dims& x = problem.inputs[0].dims;
  if (x.rank() < 2 || x.size() > kMostAxes) return unsupported("takes 2 to ", kMostAxes, " axes");
  bool many = problem.inputs[0].is_static() && x.count() > kMostInputs;
  return many ? unsupported("more than ", kMostInputs, " elements") : Status();
}

std::string prelude(const Problem& problem) {
  size_t axes = problem.inputs[0].dims.size();
  std::string text = str_cat("  i32* winners = (i32*)(workspace + ", n(kWinners),
                             ");\n  const i64 i = (i64)blockIdx.x * 256 + (int)threadIdx.x;\n"
                             "  auto place_of = [&](i64 index) -> i64 {\n    i64 place = 0;\n");
  for (size_t d = axes; d-- > 0;) {
    std::string size = n(kAxes + 3 * d);
    text += str_cat("    {\n      const i64 at = index % ", size, ";\n      index /= ", size,
                    ";\n      if (at >= ", n(kAxes + 3 * d + 1),
                    ") return -1;\n      place += at * ", n(kAxes + 3 * d + 2), ";\n    }\n");
  }
  return text + "    return place;\n  };\n";
}

std::vector<StagedText> texts() {
  return {
      {"unpool_clear",
       str_cat("  const i64 bytes = ", n(kBytes), ";\n  if (i < ", n(kPooled),
               ") winners[i] = -1;\n  if (i * 16 + 16 <= bytes) {\n"
               "    ((uint4*)out_raw0)[i] = uint4{0, 0, 0, 0};\n  } else {\n"
               "    for (i64 at = i * 16; at < bytes; ++at) ((char*)out_raw0)[at] = 0;\n  }\n")},
      {"unpool_claim",
       str_cat("  if (i >= ", n(kInputs), ") return;\n  const i64 index = in1[i];\n",
               "  if (index < 0 || index >= ", n(kPooled), " || place_of(index) < 0) {\n",
               "    refuse(refused);\n    return;\n  }\n"
               "  atomicMax(&winners[index], (i32)i);\n")},
      {"unpool_write",
       str_cat("  if (i >= ", n(kInputs), ") return;\n  const i64 index = in1[i];\n",
               "  if (index < 0 || index >= ", n(kPooled),
               " || winners[index] != (i32)i) return;\n"
               "  out0[place_of(index)] = in0[i];\n")}};
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  return staged_sources(problem, texts(), {.numbers = kNumbers, .prelude = prelude(problem)},
                        device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_TRY(supports(problem));
  const auto& attrs = problem.attrs.as<MaxUnpoolAttrs>();
  const Dims& x = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  if (problem.inputs[1].dims.count() != x.count()) {
    return invalid_argument("indices have ", problem.inputs[1].dims.count(), " elements, the data ",
                            x.count());
  }
  REDLINE_ASSIGN(Dims pooled, pooled_sizes(attrs, x));
  int64_t total = pooled.count();
  std::vector<int64_t> numbers(kNumbers);
  numbers[kInputs] = x.count();
  numbers[kPooled] = total;
  numbers[kBytes] = out.count() * static_cast<int64_t>(dtype_bytes(problem.outputs[0].dtype));
  for (size_t d = 0; d < x.size(); ++d) {
    numbers[kAxes + 3 * d] = pooled[d];
    numbers[kAxes + 3 * d + 1] = out[d];
    numbers[kAxes + 3 * d + 2] = out.count(static_cast<int>(d) + 1, out.rank());
  }
  StagedBuilder staged(args, "cuda.max_unpool", texts(), std::move(numbers));
  staged[kWinners] = staged.add_space(total * 4);
  int64_t threads = std::max(staged[kBytes] / 16 + 1, total);
  REDLINE_TRY(staged.run("unpool_clear", StagedKernel::blocks_of(threads)));
  int64_t blocks = StagedKernel::blocks_of(x.count());
  REDLINE_TRY(staged.run("unpool_claim", blocks));
  REDLINE_TRY(staged.run("unpool_write", blocks));
  return staged.build();
}

}  // namespace

void register_tactic_max_unpool(TacticRegistry& registry) {
  registry.add({.name = "cuda.max_unpool",
                .device = "cuda",
                .ops = {"max_unpool"},
                .supports = supports,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
