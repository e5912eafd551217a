// SPDX-License-Identifier: Apache-2.0
#include "ops/topk.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "tactics/cuda/element.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/staged_kernel.h"

// Elements become items (kernels/cuda/sort/items.cuh), whose order has no ties. Short rows are
// sorted in shared memory. Of longer ones blocks keep the first k of a part each, and another block
// those of all parts. What wants more than a block can keep is a radix sort.
namespace redline {
namespace {

constexpr int64_t kMostSize = int64_t{1} << 30;  // places are kept in 32 bits
constexpr int64_t kTileBytes = 32 << 10;
constexpr int64_t kMostKept = 1024;
constexpr int64_t kKeepingTile = 2048;
constexpr int64_t kLeastTile = 512;
constexpr int64_t kLeastPart = 2048;
// Of a radix sort, unless a row has more: two buffers of them are the workspace.
constexpr int64_t kItemsAtOnce = int64_t{1} << 23;

enum Number : size_t {
  kRows,
  kSize,
  kInner,
  kK,
  kLength,  // of a short row in the tile; else the items of the tile
  kParts,   // or tiles of a row
  kPart,    // elements of one
  kFrom,    // items are there in the workspace; negative: the operand's
  kTo,
  kCounts,
  kTotals,
  kShift,
  kFirst,  // of the rows that are sorted together
  kNumbers
};
constexpr RadixNumbers kRadix = {kFrom, kTo, kCounts, kTotals, kShift, kParts};

bool is_wide(DType dtype) { return dtype == DType::kFloat64 || dtype_bits(dtype) > 32; }
int64_t item_bytes(DType dtype) { return is_wide(dtype) ? 16 : 8; }
int64_t most_in_tile(DType dtype) { return kTileBytes / item_bytes(dtype); }

// Where the keys of all values of a type differ: shifts of those digits, lowest first.
std::vector<int64_t> shifts_of(DType dtype) {
  if (is_wide(dtype)) return {0, 8, 16, 24, 32, 40, 48, 56};
  if (dtype == DType::kFloat32) return {0, 8, 16, 24};
  if (dtype == DType::kFloat16) return {8, 16, 24};
  if (is_float(dtype)) return {16, 24};
  std::vector<int64_t> shifts;
  for (int bit = 0; bit < std::min(dtype_bits(dtype), 32); bit += 8) shifts.push_back(bit);
  // Above the bits of a short integer all are its sign.
  if (is_signed_int(dtype) && shifts.back() != 24) shifts.push_back(24);
  return shifts;
}

std::string prelude(const Problem& problem) {
  DType dtype = problem.inputs[0].dtype;
  std::string value = "widen(from[i * inner])";
  if (dtype == DType::kBool || (!is_float(dtype) && !is_wide(dtype))) {
    value = str_cat(is_signed_int(dtype) ? "(i32)" : "(u32)", value);
  }
  std::string flip = problem.attrs.as<TopKAttrs>().largest ? "~" : "";
  std::string indices =
      problem.outputs.size() > 1 ? "    out1[place] = (i64)number_of(item);\n" : "";
  return str_cat("  typedef ", is_wide(dtype) ? "wide_item" : "u64",
                 " Item;\n  const i64 size = ", n(kSize), ", inner = ", n(kInner), ", k = ", n(kK),
                 ";\n  const int t = (int)threadIdx.x;\n"
                 "  auto fetch = [&](i64 row, i64 i) {\n"
                 "    const auto* from = in0 + row / inner * size * inner + row % inner;\n"
                 "    return make_item(",
                 flip, "ordered_bits(", value,
                 "), (u32)i);\n  };\n"
                 "  auto put = [&](i64 row, i64 m, const Item& item) {\n"
                 "    const auto* from = in0 + row / inner * size * inner + row % inner;\n"
                 "    const i64 place = (row / inner * k + m) * inner + row % inner;\n"
                 "    out0[place] = from[(i64)number_of(item) * inner];\n",
                 indices, "  };\n");
}

StagedText sort_text(DType dtype) {
  return {"topk_sort",
          str_cat("  __shared__ Item tile[", most_in_tile(dtype), "];\n  const int length = (int)",
                  n(kLength), ", shift = __ffs(length) - 1;\n", "  const int count = length < ",
                  kLeastTile, " ? ", kLeastTile, " : length;\n",
                  "  const i64 first = (i64)blockIdx.x * (count >> shift);\n"
                  "  for (int j = t; j < count; j += 256) {\n"
                  "    const i64 row = first + (j >> shift);\n"
                  "    const int i = j & (length - 1);\n    set_last(tile[j]);\n"
                  "    if (row < ",
                  n(kRows), " && i < size) tile[j] = fetch(row, i);\n  }\n",
                  "  __syncthreads();\n  sort_runs(tile, count, length);\n"
                  "  for (int j = t; j < count; j += 256) {\n"
                  "    const i64 row = first + (j >> shift);\n"
                  "    const int i = j & (length - 1);\n    if (row < ",
                  n(kRows), " && i < k) put(row, i, tile[j]);\n  }\n")};
}

std::string keep(const std::string& count, const std::string& fetch) {
  return str_cat("  __shared__ Item tile[", kKeepingTile, "];\n  keep_first(", count, ", (int)k, ",
                 "(int)", n(kLength), ", tile, [&](i64 i) { return ", fetch, "; });\n");
}

std::vector<StagedText> keeping_texts() {
  std::string kept = str_cat("  Item* kept = (Item*)(workspace + ", n(kTo), ");\n");
  return {
      {"topk_keep",
       str_cat(kept, "  const i64 row = blockIdx.x / ", n(kParts), ", first = blockIdx.x % ",
               n(kParts), " * ", n(kPart), ";\n", "  const i64 count = size - first < ", n(kPart),
               " ? size - first : ", n(kPart), ";\n", keep("count", "fetch(row, first + i)"),
               "  for (int m = t; m < k; m += 256) {\n    if (", n(kParts),
               " == 1) put(row, m, tile[m]);\n    else kept[blockIdx.x * k + m] = tile[m];\n",
               "  }\n")},
      {"topk_merge",
       str_cat(kept, "  const i64 row = blockIdx.x;\n",
               keep(str_cat(n(kParts), " * k"), str_cat("kept[row * ", n(kParts), " * k + i]")),
               "  for (int m = t; m < k; m += 256) put(row, m, tile[m]);\n")}};
}

std::vector<StagedText> radix_texts() {
  std::string tables = radix_tables(kRadix);
  std::string items = str_cat(
      "  const i64 row = blockIdx.x / tiles;\n  const Item* items = (const Item*)(workspace "
      "+ (",
      n(kFrom), " < 0 ? 0 : ", n(kFrom), ")) + row * size;\n", "  auto item = [&](i64 i) { return ",
      n(kFrom), " < 0 ? fetch(", n(kFirst), " + row, i) : items[i]; };\n");
  return {
      {"topk_count", str_cat(tables, items, "  count_digits(size, tiles, shift, counts, item);\n")},
      {"topk_sum", str_cat(tables, "  sum_digit(tiles, counts, totals);\n")},
      {"topk_move", str_cat(tables, items,
                            "  move_by_digit(size, tiles, shift, counts, totals, "
                            "(Item*)(workspace + ",
                            n(kTo), "), item);\n")},
      {"topk_write",
       str_cat("  const i64 i = (i64)blockIdx.x * 256 + t;\n  if (i < ", n(kRows), " * k) put(",
               n(kFirst), " + i / k, i % k, ((const Item*)(workspace + ", n(kFrom),
               "))[i / k * size + i % k]);\n")}};
}

// Which way a row of `size` elements goes, when both are known.
enum class Way { kSort, kKeep, kRadix };

int64_t keeping_tile(int64_t k) {
  auto padded = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(k)));
  return std::clamp(4 * padded, kLeastTile, kKeepingTile);
}

Way way_of(DType dtype, int64_t size, int64_t k) {
  auto padded = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size)));
  bool short_enough = padded <= most_in_tile(dtype);
  if (short_enough && (k > kMostKept || padded <= keeping_tile(k))) return Way::kSort;
  return k <= kMostKept ? Way::kKeep : Way::kRadix;
}

size_t axis_of(const Problem& problem) {
  return at_axis(problem.attrs.as<TopKAttrs>().axis, problem.inputs[0].dims.rank());
}

// The way of all sizes that the problem may have, if it is known.
std::optional<Way> known_way(const Problem& problem) {
  size_t axis = axis_of(problem);
  int64_t size = problem.inputs[0].dims[axis];
  int64_t k = problem.outputs[0].dims[axis];
  if (size == kDynamicDim || k == kDynamicDim) return std::nullopt;
  return way_of(problem.inputs[0].dtype, size, k);
}

std::vector<StagedText> texts(const Problem& written) {
  std::optional<Way> way = known_way(written);
  std::vector<StagedText> all;
  if (!way || *way == Way::kSort) all.push_back(sort_text(written.inputs[0].dtype));
  if (!way || *way == Way::kKeep) std::ranges::move(keeping_texts(), std::back_inserter(all));
  if (!way || *way == Way::kRadix) std::ranges::move(radix_texts(), std::back_inserter(all));
  return all;
}

Status supports(const Problem& problem) {
  REDLINE_TRY(staged_supports(problem));
  int rank = problem.inputs[0].dims.rank();
  int64_t axis = problem.attrs.as<TopKAttrs>().axis;
  if (axis < -rank || axis >= rank) return unsupported("there is no axis ", axis);
  if (problem.inputs[0].dims[at_axis(axis, rank)] > kMostSize) {
    return unsupported("more than ", kMostSize, " elements of a row");
  }
  return {};
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  return staged_sources(problem, texts(problem),
                        {.files = {"sort/items.cuh", "sort/radix.cuh"},
                         .numbers = kNumbers,
                         .prelude = prelude(problem)},
                        device);
}

class Builder {
 public:
  Builder(const Problem& problem, const PrepareArgs& args)
      : dtype_(problem.inputs[0].dtype),
        args_(args),
        staged_(args, "cuda.topk", texts(*args.written), std::vector<int64_t>(kNumbers)) {
    size_t axis = axis_of(problem);
    const Dims& in = problem.inputs[0].dims;
    size_ = in[axis];
    k_ = problem.outputs[0].dims[axis];
    int64_t inner = in.count(static_cast<int>(axis) + 1, in.rank());
    rows_ = in.count(0, static_cast<int>(axis)) * inner;
    staged_[kRows] = rows_;
    staged_[kSize] = size_;
    staged_[kInner] = inner;
    staged_[kK] = k_;
  }

  Result<std::unique_ptr<Kernel>> build() {
    if (size_ > kMostSize) return unsupported("more than ", kMostSize, " elements of a row");
    if (rows_ > 0 && k_ > 0) {
      Way way = way_of(dtype_, size_, k_);
      if (known_way(*args_.written).value_or(way) != way) {
        return incompatible("a topk whose kernels do not take its sizes");
      }
      REDLINE_TRY(way == Way::kSort ? sort() : way == Way::kKeep ? keep() : radix());
    }
    return staged_.build();
  }

 private:
  Status sort() {
    auto length = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(size_)));
    staged_[kLength] = length;
    int64_t rows_of_block = std::max(length, kLeastTile) / length;
    return staged_.run("topk_sort", divide_up(rows_, rows_of_block));
  }

  Status keep() {
    // As many blocks as run at once; of most of a part nothing is kept.
    int64_t wanted = 2 * int64_t{args_.context->info().multiprocessors};
    int64_t least = std::max(kLeastPart, 8 * k_);
    int64_t parts = std::min(divide_up(size_, least), divide_up(wanted, rows_));
    staged_[kLength] = keeping_tile(k_);
    staged_[kPart] = divide_up(size_, parts);
    parts = divide_up(size_, staged_[kPart]);
    staged_[kParts] = parts;
    if (parts > 1) staged_[kTo] = staged_.add_space(rows_ * parts * k_ * item_bytes(dtype_));
    REDLINE_TRY(staged_.run("topk_keep", rows_ * parts));
    return parts > 1 ? staged_.run("topk_merge", rows_) : Status();
  }

  Status radix() {
    int64_t together = std::clamp(kItemsAtOnce / size_, int64_t{1}, rows_);
    staged_.add_radix(kRadix, together, size_, item_bytes(dtype_));
    for (int64_t first = 0; first < rows_; first += together) {
      int64_t rows = std::min(together, rows_ - first);
      staged_[kRows] = rows;
      staged_[kFirst] = first;
      REDLINE_TRY(staged_.run_radix(kRadix, "topk", rows, shifts_of(dtype_)));
      REDLINE_TRY(staged_.run("topk_write", StagedKernel::blocks_of(rows * k_)));
    }
    return {};
  }

  DType dtype_;
  const PrepareArgs& args_;
  StagedBuilder staged_;
  int64_t size_ = 0, k_ = 0, rows_ = 0;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  return Builder(problem, args).build();
}

}  // namespace

void register_tactic_topk(TacticRegistry& registry) {
  registry.add({.name = "cuda.topk",
                .device = "cuda",
                .ops = {"topk"},
                .supports = supports,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
