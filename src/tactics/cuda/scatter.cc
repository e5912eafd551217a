// SPDX-License-Identifier: Apache-2.0
#include "ops/scatter.h"

#include <bit>

#include "tactics/cuda/element.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/scatter_reduction.h"
#include "tactics/cuda/staged_kernel.h"

// scatter_elements and scatter_nd: the data are slots of a block of elements each, to which updates
// go. Without a reduction the last update of a slot is found first and alone written. With one the
// updates are sorted by their slots, equal ones in their order, and one thread takes those of a
// slot one after another: floats come out the same in each run.
namespace redline {
namespace {

constexpr int64_t kThreads = StagedKernel::kThreads;
constexpr int64_t kMostUpdates = int64_t{1} << 30;  // numbered in 32 bits, as slots are
constexpr int64_t kMostSlots = (int64_t{1} << 32) - 1;
constexpr int64_t kMostInTile = 4096;
constexpr int64_t kRadixTile = 4096;
constexpr int kMostAxes = 8;

enum Number : size_t {
  kUpdates,
  kBlock,  // elements of a slot
  kSlots,
  kBytes,    // of the data
  kWinners,  // of each slot: its last update
  kFrom,     // items are there in the workspace; negative: they are the indices
  kTo,
  kCounts,
  kTotals,
  kShift,
  kTiles,
  kAxes,  // from here on what place_text() says
  kNumbers = kAxes + 2 * kMostAxes + 1
};
std::string n(size_t number) { return str_cat("n", number); }

bool is_nd(const Problem& problem) { return problem.is("scatter_nd"); }

ScatterReduction reduction_of(const Problem& problem) {
  return is_nd(problem) ? problem.attrs.as<ScatterNdAttrs>().reduction
                        : problem.attrs.as<ScatterElementsAttrs>().reduction;
}

// The axes whose index is read or counted: those of the indices, or as many as a row of them names.
int64_t axes_of(const Problem& problem) {
  const Dims& indices = problem.inputs[1].dims;
  return is_nd(problem) ? indices.back() : int64_t{indices.rank()};
}

Status supports(const Problem& problem) {
  REDLINE_TRY(staged_supports(problem));
  const Dims& data = problem.inputs[0].dims;
  const Dims& indices = problem.inputs[1].dims;
  if (is_nd(problem) && indices.rank() < 1) return unsupported("takes indices of rank 1 or more");
  int64_t axes = axes_of(problem);
  if (axes < 0) return unsupported("takes a known number of indices");
  if (axes > kMostAxes || axes > data.rank()) return unsupported("more than ", kMostAxes, " axes");
  if (!is_nd(problem) && data.rank() == 0) return unsupported("takes data of rank 1 or more");
  if (!problem.inputs[0].is_static() || !problem.inputs[1].is_static()) return {};
  bool few = data.count() <= kMostSlots && indices.count() <= kMostUpdates;
  return few ? Status() : unsupported("more than ", kMostUpdates, " updates");
}

// slot_of(update): the slot, or -1 when an index is refused. Numbers of scatter_nd: the size and
// the stride of each axis that is named, in slots; of scatter_elements: the indices' sizes, the
// data's strides, then the size of the axis.
std::string place_text(const Problem& problem) {
  auto axes = static_cast<size_t>(axes_of(problem));
  std::string text = "  auto slot_of = [&](i64 update) -> i64 {\n    i64 slot = 0;\n";
  auto index = [&](const std::string& at, const std::string& size, const std::string& stride) {
    text += str_cat("    {\n      i64 i = (i64)widen(in1[", at, "]);\n      if (index_outside(i, ",
                    size, ")) {\n        refuse(refused);\n        return -1;\n      }\n",
                    "      slot += (i < 0 ? i + ", size, " : i) * ", stride, ";\n    }\n");
  };
  if (is_nd(problem)) {
    for (size_t d = 0; d < axes; ++d) {
      index(str_cat("update * ", axes, " + ", d), n(kAxes + 2 * d), n(kAxes + 2 * d + 1));
    }
    return text + "    return slot;\n  };\n";
  }
  size_t axis = at_axis(problem.attrs.as<ScatterElementsAttrs>().axis, static_cast<int>(axes));
  index("update", n(kAxes + 2 * axes), n(kAxes + axes + axis));
  text += "    i64 rest = update;\n";
  for (size_t d = axes; d-- > 0;) {
    std::string size = n(kAxes + d);
    if (d != axis) text += str_cat("    slot += rest % ", size, " * ", n(kAxes + axes + d), ";\n");
    if (d > 0) text += str_cat("    rest /= ", size, ";\n");
  }
  return text + "    return slot;\n  };\n";
}

std::string prelude(const Problem& problem) {
  return str_cat("  const i64 updates = ", n(kUpdates), ", block = ", n(kBlock),
                 ", slots = ", n(kSlots), ";\n  i32* winners = (i32*)(workspace + ", n(kWinners),
                 ");\n  u32* counts = (u32*)(workspace + ", n(kCounts),
                 ");\n  u32* totals = (u32*)(workspace + ", n(kTotals),
                 ");\n  const int tiles = (int)", n(kTiles), ", shift = (int)", n(kShift), ";\n",
                 place_text(problem), "  const u64* items = (const u64*)(workspace + (", n(kFrom),
                 " < 0 ? 0 : ", n(kFrom), "));\n  u64* to = (u64*)(workspace + ", n(kTo),
                 ");\n  auto item = [&](i64 i) -> u64 {\n", "    return ", n(kFrom),
                 " < 0 ? make_item((u32)slot_of(i), (u32)i) : items[i];\n  };\n",
                 "  const int t = (int)threadIdx.x;\n  const i64 i = (i64)blockIdx.x * 256 + t;\n");
}

struct Text {
  std::string entry;
  std::string statements;
};

Text copy_text(bool claims) {
  return {"scatter_copy",
          str_cat("  const i64 bytes = ", n(kBytes),
                  ";\n  if (i * 16 + 16 <= bytes) {\n"
                  "    ((uint4*)out_raw0)[i] = ((const uint4*)in0)[i];\n  } else {\n"
                  "    for (i64 at = i * 16; at < bytes; ++at) {\n"
                  "      ((char*)out_raw0)[at] = ((const char*)in0)[at];\n    }\n  }\n",
                  claims ? "  if (i < slots) winners[i] = -1;\n" : "")};
}

std::vector<Text> texts(const Problem& problem) {
  ScatterReduction reduction = reduction_of(problem);
  DType dtype = problem.outputs[0].dtype;
  if (reduction == ScatterReduction::kNone) {
    return {copy_text(true),
            {"scatter_claim",
             "  if (i >= updates) return;\n  const i64 slot = slot_of(i);\n"
             "  if (slot >= 0) atomicMax(&winners[slot], (i32)i);\n"},
            {"scatter_write",
             "  if (i >= updates * block) return;\n  const i64 slot = slot_of(i / block);\n"
             "  if (slot < 0 || winners[slot] != (i32)(i / block)) return;\n"
             "  out0[slot * block + i % block] = in2[i];\n"}};
  }
  std::string type(compute_type(dtype));
  return {
      copy_text(false),
      {"scatter_sort", str_cat("  __shared__ u64 tile[", kMostInTile, "];\n",
                               "  const int length = tiles;\n"
                               "  for (int j = t; j < length; j += 256) {\n    set_last(tile[j]);\n"
                               "    if (j < updates) tile[j] = item(j);\n  }\n  __syncthreads();\n"
                               "  sort_runs(tile, length, length);\n"
                               "  for (int j = t; j < updates; j += 256) to[j] = tile[j];\n")},
      {"scatter_count", "  count_digits(updates, tiles, shift, counts, item);\n"},
      {"scatter_sum", "  sum_digit(tiles, counts, totals);\n"},
      {"scatter_move", "  move_by_digit(updates, tiles, shift, counts, totals, to, item);\n"},
      {"scatter_reduce",
       str_cat("  if (i >= updates * block) return;\n"
               "  const i64 first = i / block, element = i % block;\n"
               "  const u32 slot = (u32)(items[first] >> 32);\n"
               "  if (slot >= slots) return;\n"
               "  if (first > 0 && (u32)(items[first - 1] >> 32) == slot) return;\n"
               "  const i64 place = slot * block + element;\n  ",
               type, " value = widen(in0[place]);\n",
               "  reduce_slot(items, first, updates, slot, [&](u32 number) {\n"
               "    return widen(in2[number * block + element]);\n  }, [&](",
               type, " update) {\n    value = ", reduced(reduction, dtype, "value", "update"),
               ";\n  });\n  narrow(&out0[place], value);\n")}};
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  std::vector<cuda::KernelSource> sources;
  for (const Text& text : texts(problem)) {
    sources.push_back(staged_source(
        problem, text.entry, {"sort/items.cuh", "sort/radix.cuh", "sort/segments.cuh"},
        str_cat(kIndexInside, "\n"), prelude(problem) + text.statements, kNumbers, device));
  }
  return sources;
}

// Fills in what the sizes say; refuses those that do not fit each other.
Result<std::vector<int64_t>> numbers_of(const Problem& problem) {
  const Dims& data = problem.inputs[0].dims;
  const Dims& indices = problem.inputs[1].dims;
  const Dims& updates = problem.inputs[2].dims;
  std::vector<int64_t> numbers(kNumbers);
  auto axes = static_cast<size_t>(axes_of(problem));
  auto depth = static_cast<int>(axes);
  bool nd = is_nd(problem);
  numbers[kUpdates] = nd ? indices.count(0, indices.rank() - 1) : indices.count();
  numbers[kBlock] = nd ? data.count(depth, data.rank()) : 1;
  numbers[kSlots] = nd ? data.count(0, depth) : data.count();
  numbers[kBytes] = data.count() * static_cast<int64_t>(dtype_bytes(problem.inputs[0].dtype));
  if (updates.count() != numbers[kUpdates] * numbers[kBlock]) {
    return invalid_argument("updates of sizes ", updates.to_string(), " for indices of sizes ",
                            indices.to_string());
  }
  if (numbers[kSlots] > kMostSlots || numbers[kUpdates] > kMostUpdates) {
    return unsupported("more than ", kMostUpdates, " updates");
  }
  if (nd) {
    for (size_t d = 0; d < axes; ++d) {
      numbers[kAxes + 2 * d] = data[d];
      numbers[kAxes + 2 * d + 1] = data.count(static_cast<int>(d) + 1, depth);
    }
    return numbers;
  }
  size_t axis = at_axis(problem.attrs.as<ScatterElementsAttrs>().axis, depth);
  for (size_t d = 0; d < axes; ++d) {
    if (d != axis && indices[d] > data[d]) {
      return invalid_argument("indices of sizes ", indices.to_string(), " exceed ",
                              data.to_string(), " at axis ", d);
    }
    numbers[kAxes + d] = indices[d];
    numbers[kAxes + axes + d] = data.count(static_cast<int>(d) + 1, depth);
  }
  numbers[kAxes + 2 * axes] = data[axis];
  return numbers;
}

class Builder {
 public:
  Builder(const Problem& problem, const PrepareArgs& args, std::vector<int64_t> numbers)
      : args_(args), texts_(texts(problem)), numbers_(std::move(numbers)) {
    bool reduces = reduction_of(problem) != ScatterReduction::kNone;
    add("scatter_copy", std::max(numbers_[kBytes] / 16 + 1, numbers_[kSlots]));
    if (numbers_[kUpdates] == 0 || numbers_[kBlock] == 0) return;
    if (reduces) {
      reduce();
    } else {
      numbers_[kWinners] = layout_.add(numbers_[kSlots] * 4);
      launches_[0].numbers = numbers_;
      add("scatter_claim", numbers_[kUpdates]);
      add("scatter_write", numbers_[kUpdates] * numbers_[kBlock]);
    }
  }

  Result<std::unique_ptr<Kernel>> build() {
    auto kernel =
        std::make_unique<StagedKernel>("cuda.scatter", static_cast<size_t>(layout_.bytes()));
    for (const Launch& launch : launches_) {
      for (size_t i = 0; i < texts_.size(); ++i) {
        if (texts_[i].entry != launch.entry) continue;
        REDLINE_TRY(kernel->add_run(args_, i, texts_[i].entry, launch.blocks, -1, launch.numbers));
      }
    }
    return std::unique_ptr<Kernel>(std::move(kernel));
  }

 private:
  struct Launch {
    std::string_view entry;
    int64_t blocks = 0;
    std::vector<int64_t> numbers;
  };

  void add(std::string_view entry, int64_t threads) {
    launches_.push_back({entry, (threads + kThreads - 1) / kThreads, numbers_});
  }

  void reduce() {
    int64_t updates = numbers_[kUpdates];
    numbers_[kFrom] = -1;
    numbers_[kTo] = layout_.add(updates * 8);
    if (updates <= kMostInTile) {
      numbers_[kTiles] = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(updates)));
      add("scatter_sort", 1);
      numbers_[kFrom] = numbers_[kTo];
    } else {
      sort(layout_.add(updates * 8));
    }
    add("scatter_reduce", updates * numbers_[kBlock]);
  }

  void sort(int64_t other) {
    int64_t tiles = (numbers_[kUpdates] + kRadixTile - 1) / kRadixTile;
    numbers_[kTiles] = tiles;
    numbers_[kCounts] = layout_.add(256 * tiles * 4);
    numbers_[kTotals] = layout_.add(256 * 4);
    int bits = std::bit_width(static_cast<uint64_t>(numbers_[kSlots]));
    for (int64_t shift = 0; shift < std::max(bits, 1); shift += 8) {
      numbers_[kShift] = shift;
      add("scatter_count", tiles * kThreads);
      add("scatter_sum", 256 * kThreads);
      add("scatter_move", tiles * kThreads);
      int64_t to = numbers_[kTo];
      numbers_[kTo] = shift == 0 ? other : numbers_[kFrom];
      numbers_[kFrom] = to;
    }
  }

  const PrepareArgs& args_;
  std::vector<Text> texts_;
  std::vector<int64_t> numbers_;
  WorkspaceLayout layout_;
  std::vector<Launch> launches_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_TRY(supports(problem));
  REDLINE_ASSIGN(std::vector<int64_t> numbers, numbers_of(problem));
  return Builder(problem, args, std::move(numbers)).build();
}

}  // namespace

void register_tactic_scatter(TacticRegistry& registry) {
  registry.add({.name = "cuda.scatter",
                .device = "cuda",
                .ops = {"scatter_elements", "scatter_nd"},
                .supports = supports,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
