// SPDX-License-Identifier: Apache-2.0
#include "ops/cum_sum.h"

#include <algorithm>
#include <iterator>

#include "ops/elements.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/staged_kernel.h"

// cum_sum and cum_prod: a warp or a block a row, or, where neighbours in memory belong to different
// rows, a thread a row. Where that leaves the GPU empty, rows are cut in chunks, whose totals are
// found and summed first.
namespace redline {
namespace {

constexpr int64_t kThreads = StagedKernel::kThreads;
// Threads side by side read whole sectors of memory from here on.
constexpr int64_t kLeastInner = 16;
// So short that caches hold what the threads of a warp walk through.
constexpr int64_t kMostOfThread = 16;
constexpr int64_t kMostOfWarp = 1024;
constexpr int64_t kLeastColumnChunk = 64;
constexpr int64_t kLeastRowChunk = 8192;
constexpr int64_t kStateBytes = 16;  // the most of any

enum Number : size_t { kRows, kSize, kInner, kChunks, kChunk, kTotals, kNumbers };

Result<size_t> axis_of(const Problem& problem) {
  if (problem.inputs[1].constant == nullptr) return unsupported("the axis comes with the run");
  std::vector<int64_t> axes = read_ints(problem.inputs[1].constant->view());
  int rank = problem.inputs[0].dims.rank();
  if (axes.size() != 1 || axes[0] < -rank || axes[0] >= rank) {
    return unsupported("there is no such axis");
  }
  return at_axis(axes[0], rank);
}

Status supports(const Problem& problem) {
  REDLINE_TRY(staged_supports(problem));
  return axis_of(problem).status();
}

std::string prelude(const Problem& problem) {
  DType dtype = problem.inputs[0].dtype;
  bool reverse = problem.attrs.as<CumulativeAttrs>().reverse;
  return str_cat("  typedef ", is_float(dtype) ? "float_" : "integer_",
                 problem.is("cum_prod") ? "product<" : "sum<", compute_type(dtype),
                 "> Scan;\n  typedef Scan::State State;\n  const i64 rows = ", n(kRows),
                 ", size = ", n(kSize), ", inner = ", n(kInner), ", chunks = ", n(kChunks),
                 ", chunk_size = ", n(kChunk), ";\n  State* totals = (State*)(workspace + ",
                 n(kTotals),
                 ");\n  auto place = [&](i64 row, i64 i) {\n    return (row / inner * size + ",
                 reverse ? "size - 1 - i" : "i", ") * inner + row % inner;\n  };\n",
                 "  const i64 stride = ", reverse ? "-inner" : "inner", ";\n");
}

// `take` is the call that takes the elements of one chunk behind `carry`, of which only the state
// of all matters when they are `counted`.
std::string chunk_text(const std::string& take, const std::string& total, bool counted) {
  return str_cat(
      "  const i64 from = chunk * chunk_size;\n"
      "  const i64 count = size - from < chunk_size ? size - from : chunk_size;\n"
      "  const i64 first = place(row, from);\n  State* const total = totals + ",
      total, ";\n  State carry = Scan::none();\n",
      counted ? "" : "  if (chunks > 1) carry = *total;\n",
      "  const auto* const x = in0 + first;\n  auto* const y = out0 + first;\n",
      "  auto fetch = [&](i64 i) { return Scan::of(widen(x[i * stride])); };\n",
      counted ? "  auto store = [](i64, const State&) {};\n"
              : "  auto store = [&](i64 i, const State& s) {\n"
                "    narrow(y + i * stride, Scan::value(s));\n  };\n",
      "  carry = ", take, "(count, carry, fetch, store);\n");
}

// The totals of a row's chunks, each replaced by that of the chunks before.
std::string sum_text(const std::string& take, const std::string& total) {
  return str_cat("  auto fetch = [&](i64 chunk) { return totals[", total,
                 "]; };\n  auto store = [&](i64 chunk, const State& s) { totals[", total,
                 "] = s; };\n  ", take, "(chunks, Scan::none(), fetch, store);\n");
}

std::string leaves(bool exclusive) { return exclusive ? "true>" : "false>"; }

std::vector<StagedText> row_texts(bool exclusive) {
  std::string row = "  const i64 row = blockIdx.x / chunks, chunk = blockIdx.x % chunks;\n";
  std::string total = "row * chunks + chunk";
  std::string take = "scan_row<Scan, 256, ";
  return {{"scan_rows", row + chunk_text(take + leaves(exclusive), total, false)},
          {"total_rows", str_cat(row, chunk_text(take + leaves(false), total, true),
                                 "  if (threadIdx.x == 0) *total = carry;\n")},
          {"sum_rows",
           str_cat("  const i64 row = blockIdx.x;\n", sum_text(take + leaves(true), total))}};
}

std::vector<StagedText> column_texts(bool exclusive) {
  std::string thread = "  const i64 thread = (i64)blockIdx.x * 256 + (int)threadIdx.x;\n";
  std::string row = str_cat(thread,
                            "  if (thread >= rows * chunks) return;\n"
                            "  const i64 row = thread % rows, chunk = thread / rows;\n");
  std::string total = "chunk * rows + row";
  std::string take = "scan_column<Scan, ";
  return {{"scan_columns", row + chunk_text(take + leaves(exclusive), total, false)},
          {"total_columns",
           str_cat(row, chunk_text(take + leaves(false), total, true), "  *total = carry;\n")},
          {"sum_columns", str_cat(thread, "  const i64 row = thread;\n  if (row >= rows) return;\n",
                                  sum_text(take + leaves(true), total))}};
}

StagedText warp_text(bool exclusive) {
  return {"scan_rows_of_warps",
          str_cat("  const i64 row = (i64)blockIdx.x * 8 + (int)threadIdx.x / 32, chunk = 0;\n"
                  "  if (row >= rows) return;\n",
                  chunk_text("scan_row<Scan, 32, " + leaves(exclusive), "0", false))};
}

enum class Way { kWarps, kRows, kColumns };

Way way_of(int64_t size, int64_t inner) {
  if (inner >= kLeastInner || size <= kMostOfThread) return Way::kColumns;
  return size <= kMostOfWarp ? Way::kWarps : Way::kRows;
}

// Sizes as [outer, size, inner]; kDynamicDim where they are unknown.
struct Layout {
  int64_t outer = 1, size = 1, inner = 1;
};

Result<Layout> layout_of(const Problem& problem) {
  REDLINE_ASSIGN(size_t axis, axis_of(problem));
  Layout layout;
  const Dims& dims = problem.inputs[0].dims;
  for (size_t d = 0; d < dims.size(); ++d) {
    int64_t& part = d < axis ? layout.outer : d == axis ? layout.size : layout.inner;
    bool unknown = part == kDynamicDim || dims[d] == kDynamicDim;
    part = unknown ? kDynamicDim : part * dims[d];
  }
  return layout;
}

// The way of all sizes that the layout may have, if it is known.
std::optional<Way> known_way(const Layout& layout) {
  if (layout.size == kDynamicDim || layout.inner == kDynamicDim) return std::nullopt;
  return way_of(layout.size, layout.inner);
}

std::vector<StagedText> texts(const Problem& problem, const Layout& written) {
  bool exclusive = problem.attrs.as<CumulativeAttrs>().exclusive;
  std::optional<Way> way = known_way(written);
  std::vector<StagedText> all;
  if (!way || *way == Way::kWarps) all.push_back(warp_text(exclusive));
  if (!way || *way == Way::kRows) std::ranges::move(row_texts(exclusive), std::back_inserter(all));
  if (!way || *way == Way::kColumns) {
    std::ranges::move(column_texts(exclusive), std::back_inserter(all));
  }
  return all;
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Layout layout, layout_of(problem));
  return staged_sources(
      problem, texts(problem, layout),
      {.files = {"scan/scan.cuh"}, .numbers = kNumbers, .prelude = prelude(problem)}, device);
}

// In how many chunks each row is cut, for about `wanted` of them in all.
int64_t chunks_of(int64_t rows, int64_t size, int64_t wanted, int64_t least) {
  return std::clamp(size / least, int64_t{1}, std::max(wanted / rows, int64_t{1}));
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Layout layout, layout_of(problem));
  REDLINE_ASSIGN(Layout written, layout_of(*args.written));
  int64_t rows = layout.outer * layout.inner;
  if (rows == 0 || layout.size == 0) {
    return std::unique_ptr<Kernel>(std::make_unique<StagedKernel>("cuda.cum_sum", size_t{0}));
  }
  Way way = way_of(layout.size, layout.inner);
  if (known_way(written).value_or(way) != way) {
    return incompatible("a cum_sum whose kernels do not take its sizes");
  }
  auto multiprocessors = int64_t{args.context->info().multiprocessors};
  int64_t chunks = 1;
  if (way == Way::kRows) chunks = chunks_of(rows, layout.size, 4 * multiprocessors, kLeastRowChunk);
  if (way == Way::kColumns) {
    chunks = chunks_of(rows, layout.size, 2 * kThreads * multiprocessors, kLeastColumnChunk);
  }
  int64_t chunk = divide_up(layout.size, chunks);
  chunks = divide_up(layout.size, chunk);
  StagedBuilder staged(args, "cuda.cum_sum", texts(*args.written, written),
                       {rows, layout.size, layout.inner, chunks, chunk, 0});
  if (chunks > 1) staged[kTotals] = staged.add_space(rows * chunks * kStateBytes);
  bool columns = way == Way::kColumns;
  auto blocks = [&](int64_t count) { return columns ? StagedKernel::blocks_of(count) : count; };
  if (way == Way::kWarps) {
    REDLINE_TRY(staged.run("scan_rows_of_warps", (rows + 7) / 8));
    return staged.build();
  }
  if (chunks > 1) {
    REDLINE_TRY(staged.run(columns ? "total_columns" : "total_rows", blocks(rows * chunks)));
    REDLINE_TRY(staged.run(columns ? "sum_columns" : "sum_rows", blocks(rows)));
  }
  REDLINE_TRY(staged.run(columns ? "scan_columns" : "scan_rows", blocks(rows * chunks)));
  return staged.build();
}

}  // namespace

void register_tactic_cum_sum(TacticRegistry& registry) {
  registry.add({.name = "cuda.cum_sum",
                .device = "cuda",
                .ops = {"cum_sum", "cum_prod"},
                .supports = supports,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
