// SPDX-License-Identifier: Apache-2.0
#include "ops/unique.h"

#include <bit>

#include "tactics/cuda/element.h"
#include "tactics/cuda/staged_kernel.h"

// Slices are sorted by their numbers; where one differs from the one in front of it, a distinct
// slice begins. In order of appearance, those that no equal one precedes are counted once more.
namespace redline {
namespace {

constexpr int64_t kSortTile = 2048;
// Slices are numbered in 32 bits.
constexpr int64_t kMostSlices = int64_t{1} << 30;

// What the launches' numbers are, in order.
enum Number : size_t {
  kCount,   // slices, or what else the kernel works on
  kTiles,   // their tiles' sums
  kOrder,   // the sorted numbers
  kGroup,   // of each slice: which distinct one it is, in ascending order
  kStart,   // of each distinct slice: where it begins in `order`
  kFirst,   // and the slice itself
  kRank,    // and which in order of appearance
  kByRank,  // of each rank: the distinct slice
  kOuter,
  kSize,
  kInner,
  kFrom,
  kTo,  // of a sort
  kNumbers
};

std::string array(const char* name, Number number) {
  return str_cat("  i32* ", name, " = (i32*)(workspace + ", n(number), ");\n");
}

std::string prelude(const Problem& problem) {
  return str_cat("  const slices<", storage_type(problem.inputs[0].dtype), "> s = {in0, ",
                 n(kOuter), ", ", n(kSize), ", ", n(kInner),
                 "};\n  i64* tiles = (i64*)(workspace + ", n(kTiles), ");\n",
                 array("order", kOrder), array("group", kGroup), array("start", kStart),
                 array("first", kFirst), array("rank", kRank), array("by_rank", kByRank),
                 "  const i64 i = (i64)blockIdx.x * 256 + (int)threadIdx.x;\n");
}

std::vector<StagedText> texts(const Problem& problem) {
  bool sorted = problem.attrs.as<UniqueAttrs>().sorted;
  std::string before = "[&](i32 a, i32 b) { return s.before(a, b); }";
  std::string head =
      "[&](i64 k) -> i64 { return k == 0 || s.compare(order[k - 1], order[k]) != 0 ? 1 : 0; }";
  std::string appears = "[&](i64 k) -> i64 { return first[group[k]] == (i32)k ? 1 : 0; }";
  std::string count = n(kCount);
  std::vector<StagedText> all = {
      {"unique_number", str_cat("  if (i < ", count, ") order[i] = (i32)i;\n")},
      {"unique_sort_tiles", str_cat("  sort_in_tile(", count, ", ", n(kFrom), ", ", n(kTo),
                                    ", order, ", before, ");\n")},
      {"unique_sort_across",
       str_cat("  sort_across(", count, ", ", n(kFrom), ", ", n(kTo), ", order, ", before, ");\n")},
      {"unique_heads", str_cat("  count_selected(", count, ", tiles, ", head, ");\n")},
      {"unique_sum", str_cat("  sum_tiles(", count, ", tiles, (i64*)workspace);\n")},
      {"unique_groups",
       str_cat("  place_selected(", count, ", tiles, ", head,
               ", [&](i64 k, bool has, i64 at) {\n    const i64 g = has ? at : at - 1;\n"
               "    group[order[k]] = (i32)g;\n    if (!has) return;\n    start[g] = (i32)k;\n"
               "    first[g] = order[k];\n  });\n")},
      {"unique_appearing", str_cat("  count_selected(", count, ", tiles, ", appears, ");\n")},
      {"unique_ranks",
       str_cat("  place_selected(", count, ", tiles, ", appears,
               ", [&](i64 k, bool has, i64 at) {\n    if (!has) return;\n"
               "    rank[group[k]] = (i32)at;\n    by_rank[at] = group[k];\n  });\n")}};
  std::string distinct = sorted ? "k" : "by_rank[k]";
  std::string total = "  const i64 total = *(const i64*)workspace;\n";
  const std::string outputs[] = {
      str_cat(
          total,
          "  if (i >= s.outer * total * s.inner) return;\n  const i64 k = i / s.inner % total;\n",
          "  out0[i] = in0[(i / s.inner / total * s.size + first[", distinct,
          "]) * s.inner + i % s.inner];\n"),
      str_cat(total, "  const i64 k = i;\n  if (k < total) out1[k] = first[", distinct, "];\n"),
      str_cat("  if (i < s.size) out2[i] = ", sorted ? "group[i]" : "rank[group[i]]", ";\n"),
      str_cat(total, "  const i64 k = i;\n  if (k >= total) return;\n  const i64 g = ", distinct,
              ";\n  out3[k] = (g + 1 < total ? start[g + 1] : s.size) - start[g];\n")};
  for (size_t o = 0; o < problem.outputs.size(); ++o) {
    all.push_back({str_cat("unique_output_", o), outputs[o]});
  }
  return all;
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  return staged_sources(problem, texts(problem),
                        {.files = {"find/select.cuh", "find/sort.cuh", "find/unique.cuh"},
                         .numbers = kNumbers,
                         .prelude = prelude(problem)},
                        device);
}

Status find(StagedBuilder& staged, std::string_view entry, int64_t count, int64_t blocks,
            int64_t from = 0, int64_t to = 0) {
  staged[kCount] = count;
  staged[kFrom] = from;
  staged[kTo] = to;
  return staged.find(entry, blocks);
}

// `padded` is a power of two.
Status sort(StagedBuilder& staged, int64_t padded) {
  REDLINE_TRY(find(staged, "unique_number", padded, StagedKernel::blocks_of(padded)));
  int64_t blocks = divide_up(padded, kSortTile);
  REDLINE_TRY(find(staged, "unique_sort_tiles", padded, blocks, 2, std::min(padded, kSortTile)));
  for (int64_t length = 2 * kSortTile; length <= padded; length *= 2) {
    for (int64_t by = length / 2; by >= kSortTile; by /= 2) {
      REDLINE_TRY(find(staged, "unique_sort_across", padded, StagedKernel::blocks_of(padded / 2),
                       length, by));
    }
    REDLINE_TRY(find(staged, "unique_sort_tiles", padded, blocks, length, length));
  }
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  const auto& attrs = problem.attrs.as<UniqueAttrs>();
  const Dims& in = problem.inputs[0].dims;
  Dims dims = attrs.axis ? in : Dims{in.count()};
  auto at = static_cast<int>(attrs.axis.value_or(0));
  if (at < 0) at += dims.rank();
  if (at < 0 || at >= dims.rank()) return invalid_argument("there is no axis ", at);
  int64_t size = dims[static_cast<size_t>(at)];
  if (size > kMostSlices) return unsupported("more than ", kMostSlices, " slices");
  auto padded = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size)));
  int64_t tiles = select_tiles(size);
  StagedBuilder staged(args, "cuda.unique", texts(problem), std::vector<int64_t>(kNumbers),
                       [dims, at, size, wanted = problem.outputs.size()](int64_t count) {
                         Dims out = dims;
                         out[static_cast<size_t>(at)] = count;
                         std::vector<Dims> all = {out, Dims{count}, Dims{size}, Dims{count}};
                         all.resize(wanted);
                         return all;
                       });
  staged[kTiles] = staged.add_space(tiles * 8);
  staged[kOrder] = staged.add_space(padded * 4);
  for (Number array : {kGroup, kStart, kFirst, kRank, kByRank}) {
    staged[array] = staged.add_space(size * 4);
  }
  staged[kOuter] = dims.count(0, at);
  staged[kSize] = size;
  staged[kInner] = dims.count(at + 1, dims.rank());
  if (size > 0) REDLINE_TRY(sort(staged, padded));
  REDLINE_TRY(find(staged, "unique_heads", size, tiles));
  REDLINE_TRY(find(staged, "unique_sum", tiles, 1));
  REDLINE_TRY(find(staged, "unique_groups", size, tiles));
  if (!attrs.sorted) {
    REDLINE_TRY(find(staged, "unique_appearing", size, tiles));
    REDLINE_TRY(find(staged, "unique_sum", tiles, 1));
    REDLINE_TRY(find(staged, "unique_ranks", size, tiles));
  }
  for (size_t o = 0; o < problem.outputs.size(); ++o) {
    REDLINE_TRY(staged.run(str_cat("unique_output_", o), 0, static_cast<int>(o)));
  }
  return staged.build();
}

}  // namespace

void register_tactic_unique(TacticRegistry& registry) {
  registry.add({.name = "cuda.unique",
                .device = "cuda",
                .ops = {"unique"},
                .supports = staged_supports,
                .kernels = kernels,
                .prepare = prepare,
                .version = 2});
}

}  // namespace redline
