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

constexpr int64_t kMostUpdates = int64_t{1} << 30;  // numbered in 32 bits, as slots are
constexpr int64_t kMostSlots = (int64_t{1} << 32) - 1;
constexpr int64_t kMostInTile = 4096;
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
  kDepth,  // of a row of scatter_nd's indices
  kAxes,   // from here on what place_text() says
  kNumbers = kAxes + 2 * kMostAxes + 1
};
constexpr RadixNumbers kRadix = {kFrom, kTo, kCounts, kTotals, kShift, kTiles};

bool is_nd(const Problem& problem) { return problem.is("scatter_nd"); }

ScatterReduction reduction_of(const Problem& problem) {
  return is_nd(problem) ? problem.attrs.as<ScatterNdAttrs>().reduction
                        : problem.attrs.as<ScatterElementsAttrs>().reduction;
}

// The axes whose index is read or counted: those of the indices, or as many as a row of them names,
// which may be known only when it runs.
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
  if (axes == kDynamicDim && data.rank() > kMostAxes) axes = data.rank();
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
  int64_t known = axes_of(problem);
  auto axes = known == kDynamicDim ? kMostAxes : static_cast<size_t>(known);
  std::string text = "  auto slot_of = [&](i64 update) -> i64 {\n    i64 slot = 0;\n";
  auto index = [&](const std::string& at, const std::string& size, const std::string& stride) {
    text += str_cat("    {\n      i64 i = (i64)widen(in1[", at, "]);\n      if (index_outside(i, ",
                    size, ")) {\n        refuse(refused);\n        return -1;\n      }\n",
                    "      slot += (i < 0 ? i + ", size, " : i) * ", stride, ";\n    }\n");
  };
  if (is_nd(problem)) {
    for (size_t d = 0; d < axes; ++d) {
      if (known == kDynamicDim) text += str_cat("    if (", d, " < ", n(kDepth), ")\n");
      index(str_cat("update * ", n(kDepth), " + ", d), n(kAxes + 2 * d), n(kAxes + 2 * d + 1));
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
                 ");\n", radix_tables(kRadix), place_text(problem),
                 "  const u64* items = (const u64*)(workspace + (", n(kFrom),
                 " < 0 ? 0 : ", n(kFrom), "));\n  u64* to = (u64*)(workspace + ", n(kTo),
                 ");\n  auto item = [&](i64 i) -> u64 {\n", "    return ", n(kFrom),
                 " < 0 ? make_item((u32)slot_of(i), (u32)i) : items[i];\n  };\n",
                 "  const int t = (int)threadIdx.x;\n  const i64 i = (i64)blockIdx.x * 256 + t;\n");
}

StagedText copy_text(bool claims) {
  return {"scatter_copy",
          str_cat("  const i64 bytes = ", n(kBytes),
                  ";\n  if (i * 16 + 16 <= bytes) {\n"
                  "    ((uint4*)out_raw0)[i] = ((const uint4*)in0)[i];\n  } else {\n"
                  "    for (i64 at = i * 16; at < bytes; ++at) {\n"
                  "      ((char*)out_raw0)[at] = ((const char*)in0)[at];\n    }\n  }\n",
                  claims ? "  if (i < slots) winners[i] = -1;\n" : "")};
}

std::vector<StagedText> texts(const Problem& problem) {
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
  return staged_sources(problem, texts(problem),
                        {.files = {"sort/items.cuh", "sort/radix.cuh", "sort/segments.cuh"},
                         .numbers = kNumbers,
                         .functions = str_cat(kIndexInside, "\n"),
                         .prelude = prelude(problem)},
                        device);
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
    numbers[kDepth] = depth;
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

Status add_write(StagedBuilder& staged) {
  REDLINE_TRY(staged.run("scatter_claim", StagedKernel::blocks_of(staged[kUpdates])));
  return staged.run("scatter_write", StagedKernel::blocks_of(staged[kUpdates] * staged[kBlock]));
}

Status add_sort(StagedBuilder& staged) {
  int64_t updates = staged[kUpdates];
  if (updates > kMostInTile) {
    std::vector<int64_t> shifts = {0};
    int bits = std::bit_width(static_cast<uint64_t>(staged[kSlots]));
    for (int64_t shift = 8; shift < bits; shift += 8) shifts.push_back(shift);
    staged.add_radix(kRadix, 1, updates, 8);
    return staged.run_radix(kRadix, "scatter", 1, shifts);
  }
  staged[kFrom] = -1;
  staged[kTo] = staged.add_space(updates * 8);
  staged[kTiles] = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(updates)));
  REDLINE_TRY(staged.run("scatter_sort", 1));
  staged[kFrom] = staged[kTo];
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_TRY(supports(problem));
  REDLINE_ASSIGN(std::vector<int64_t> numbers, numbers_of(problem));
  StagedBuilder staged(args, "cuda.scatter", texts(problem), std::move(numbers));
  bool updated = staged[kUpdates] > 0 && staged[kBlock] > 0;
  bool reduces = reduction_of(problem) != ScatterReduction::kNone;
  if (updated && !reduces) staged[kWinners] = staged.add_space(staged[kSlots] * 4);
  int64_t threads = std::max(staged[kBytes] / 16 + 1, staged[kSlots]);
  REDLINE_TRY(staged.run("scatter_copy", StagedKernel::blocks_of(threads)));
  if (updated && reduces) {
    REDLINE_TRY(add_sort(staged));
    int64_t elements = staged[kUpdates] * staged[kBlock];
    REDLINE_TRY(staged.run("scatter_reduce", StagedKernel::blocks_of(elements)));
  } else if (updated) {
    REDLINE_TRY(add_write(staged));
  }
  return staged.build();
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
