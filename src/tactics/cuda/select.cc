// SPDX-License-Identifier: Apache-2.0
#include "ops/compress.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/staged_kernel.h"

// nonzero and compress: tiles are counted, their counts summed, and what has a flag goes to its
// place.
namespace redline {
namespace {

constexpr int64_t kMostFlags = int64_t{1} << 30;

constexpr const char* kTilesAt = "  i64* tiles = (i64*)(workspace + n1);\n";
constexpr const char* kSumText = "  sum_tiles(n0, tiles, (i64*)workspace);\n";

// --- nonzero: n0 elements, tiles at n1, the sizes from n2 on ---------------------------------

std::string nonzero_flag() { return "[&](i64 i) -> i64 { return widen(in0[i]) != 0 ? 1 : 0; }"; }

Result<std::vector<cuda::KernelSource>> nonzero_kernels(const Problem& problem, const Config&,
                                                        const cuda::DeviceInfo& device) {
  auto rank = static_cast<size_t>(problem.inputs[0].dims.rank());
  std::string flag = nonzero_flag();
  std::string places = "if (!has) return;\n    const i64 total = *(const i64*)workspace;\n";
  for (size_t d = rank; d-- > 0;) {
    places += d == 0 ? str_cat("    out0[at] = i;\n")
                     : str_cat("    out0[", d, " * total + at] = i % n", d + 2, ";\n    i /= n",
                               d + 2, ";\n");
  }
  return staged_sources(
      problem,
      {{"nonzero_count", str_cat(kTilesAt, "  count_selected(n0, tiles, ", flag, ");\n")},
       {"nonzero_sum", str_cat(kTilesAt, kSumText)},
       {"nonzero_places", str_cat(kTilesAt, "  place_selected(n0, tiles, ", flag,
                                  ", [&](i64 i, bool has, i64 at) {\n    ", places, "  });\n")}},
      {.files = {"find/select.cuh"}, .numbers = rank + 2}, device);
}

Result<std::unique_ptr<Kernel>> nonzero_prepare(const Problem& problem, const Config&,
                                                const PrepareArgs& args) {
  const Dims& dims = problem.inputs[0].dims;
  int64_t n = dims.count();
  int64_t tiles = select_tiles(n);
  WorkspaceLayout layout;
  std::vector<int64_t> numbers = {n, layout.add(tiles * 8)};
  for (int64_t dim : dims) numbers.push_back(dim);
  std::vector<int64_t> of_tiles = numbers;
  of_tiles[0] = tiles;
  int64_t rank = dims.rank();
  auto kernel = std::make_unique<StagedKernel>("cuda.nonzero", static_cast<size_t>(layout.bytes()),
                                               [rank](int64_t count) {
                                                 return std::vector<Dims>{Dims{rank, count}};
                                               });
  REDLINE_TRY(kernel->add_find(args, 0, "nonzero_count", tiles, numbers));
  REDLINE_TRY(kernel->add_find(args, 1, "nonzero_sum", 1, std::move(of_tiles)));
  REDLINE_TRY(kernel->add_run(args, 2, "nonzero_places", tiles, -1, std::move(numbers)));
  return std::unique_ptr<Kernel>(std::move(kernel));
}

// --- compress: n0 flags, tiles at n1, what they pick at n2, of n3 slices of n4 elements --------

Result<std::vector<cuda::KernelSource>> compress_kernels(const Problem& problem, const Config&,
                                                         const cuda::DeviceInfo& device) {
  // A flag beyond the axis makes the count negative, which no number of others makes up for.
  std::string flag =
      "[&](i64 i) -> i64 { return !widen(in1[i]) ? 0 : i < n3 ? 1 : -(i64(1) << 62) / n0; }";
  std::string slices = "  i64* picked = (i64*)(workspace + n2);\n";
  return staged_sources(
      problem,
      {{"compress_count", str_cat(kTilesAt, "  count_selected(n0, tiles, ", flag, ");\n")},
       {"compress_sum", str_cat(kTilesAt, kSumText)},
       {"compress_pick",
        str_cat(kTilesAt, slices,
                "  if (*(const i64*)workspace < 0) return;\n  place_selected(n0, tiles, ", flag,
                ", [&](i64 i, bool has, i64 at) { if (has) picked[at] = i; });\n")},
       // n0 elements of the output here.
       {"compress_copy",
        str_cat(slices,
                "  const i64 count = *(const i64*)workspace;\n"
                "  const i64 i = (i64)blockIdx.x * 256 + (int)threadIdx.x;\n"
                "  const i64 slice = i / n4;\n"
                "  if (slice / count >= n0) return;\n"
                "  out0[i] = in0[(slice / count * n3 + picked[slice % count]) * n4 + i % "
                "n4];\n")}},
      {.files = {"find/select.cuh"}, .numbers = 5}, device);
}

Result<std::unique_ptr<Kernel>> compress_prepare(const Problem& problem, const Config&,
                                                 const PrepareArgs& args) {
  const Dims& in = problem.inputs[0].dims;
  std::optional<int64_t> axis = problem.attrs.as<CompressAttrs>().axis;
  Dims dims = axis ? in : Dims{in.count()};
  auto at = static_cast<int>(axis.value_or(0));
  if (at < 0) at += dims.rank();
  if (at < 0 || at >= dims.rank()) return invalid_argument("there is no axis ", at);
  int64_t flags = problem.inputs[1].dims.count();
  if (flags > kMostFlags) return unsupported("more than ", kMostFlags, " flags");
  int64_t tiles = select_tiles(flags);
  WorkspaceLayout layout;
  int64_t tiles_at = layout.add(tiles * 8);
  int64_t picked_at = layout.add(flags * 8);
  int64_t size = dims[static_cast<size_t>(at)];
  int64_t outer = dims.count(0, at);
  int64_t inner = dims.count(at + 1, dims.rank());
  auto kernel = std::make_unique<StagedKernel>("cuda.compress", static_cast<size_t>(layout.bytes()),
                                               [dims, at](int64_t count) {
                                                 Dims out = dims;
                                                 out[static_cast<size_t>(at)] = count;
                                                 return std::vector<Dims>{out};
                                               });
  auto numbers = [&](int64_t first) {
    return std::vector<int64_t>{first, tiles_at, picked_at, size, inner};
  };
  REDLINE_TRY(kernel->add_find(args, 0, "compress_count", tiles, numbers(flags)));
  REDLINE_TRY(kernel->add_find(args, 1, "compress_sum", 1, numbers(tiles)));
  REDLINE_TRY(kernel->add_find(args, 2, "compress_pick", tiles, numbers(flags)));
  REDLINE_TRY(kernel->add_run(args, 3, "compress_copy", 0, 0, numbers(outer)));
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_select(TacticRegistry& registry) {
  registry.add({.name = "cuda.nonzero",
                .device = "cuda",
                .ops = {"nonzero"},
                .supports = staged_supports,
                .kernels = nonzero_kernels,
                .prepare = nonzero_prepare,
                .version = 2});
  registry.add({.name = "cuda.compress",
                .device = "cuda",
                .ops = {"compress"},
                .supports = staged_supports,
                .kernels = compress_kernels,
                .prepare = compress_prepare,
                .version = 2});
}

}  // namespace redline
