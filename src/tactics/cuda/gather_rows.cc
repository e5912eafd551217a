// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/checked.h"
#include "ops/gather.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/moved_unit.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr const char* kEntry = "gather_rows";
constexpr int kThreads = 256;
constexpr int kAccessBytes = 16;

// The data as [outer, rows, inner], of which the indices name rows; sizes are numbers or
// expressions.
struct Rows {
  std::string outer, rows, inner, count;
  std::optional<int64_t> known_inner;
  size_t axis = 0;
  int bytes = 1;  // of an element
};

std::string product(const ElementOperand& operand, size_t from, size_t to) {
  std::string text = "idx(1)";
  for (size_t axis = from; axis < to; ++axis) text += " * " + operand.dims[axis];
  return text;
}

Rows rows_of(const Problem& problem, const ElementWriter& writer) {
  const ElementOperand& data = writer.value(0);
  Rows rows;
  rows.axis = at_axis(problem.attrs.as<GatherAttrs>().axis, data.rank());
  rows.bytes = static_cast<int>(dtype_bytes(data.dtype));
  rows.outer = product(data, 0, rows.axis);
  rows.rows = data.dims[rows.axis];
  rows.inner = product(data, rows.axis + 1, data.dims.size());
  rows.count = writer.value(1).count();
  rows.known_inner = 1;
  for (int axis = static_cast<int>(rows.axis) + 1; axis < data.rank(); ++axis) {
    std::optional<int64_t> size = data.static_dim(axis);
    rows.known_inner =
        size && rows.known_inner ? std::optional(*size * *rows.known_inner) : std::nullopt;
  }
  return rows;
}

Status supports(const Problem& problem) {
  for (const OperandDesc& input : problem.inputs) {
    if (!input.is_tensor || !input.has_rank) return unsupported("takes tensors of known rank");
  }
  const OperandDesc& data = problem.inputs[0];
  if (data.dtype == DType::kString) return unsupported("takes no strings");
  if (!is_int(problem.inputs[1].dtype)) return unsupported("takes integer indices");
  int64_t axis = problem.attrs.as<GatherAttrs>().axis;
  if (axis < -data.dims.rank() || axis >= data.dims.rank()) return unsupported("no such axis");
  return {};
}

// Elements that are moved at once.
struct Way {
  int lanes = 1;
  bool wide = false;
};

// In the order in which they are tried; a row that is not a multiple of the first takes the next.
std::vector<Way> ways_of(const Problem& problem, const Rows& rows) {
  int lanes = kAccessBytes / rows.bytes;
  while (rows.known_inner && *rows.known_inner % lanes != 0) lanes /= 2;
  std::vector<Way> ways = {{lanes}};
  if (!rows.known_inner) ways.push_back({1});
  if (!element_parameters(problem).empty()) ways.push_back({1, true});
  return ways;
}

// Accesses of a thread. Each waits for its index first, so that several keep more of them in flight
// once there are threads enough.
std::vector<Config> configs(const Problem& problem) {
  ElementWriter writer(problem);
  int lanes = ways_of(problem, rows_of(problem, writer)).front().lanes;
  bool large = problem.outputs[0].dims.count() / lanes >= (1 << 18);
  std::vector<Config> result;
  if (large) result = {{{"unroll", int64_t{4}}}, {{"unroll", int64_t{2}}}};
  result.emplace_back();
  return result;
}

Result<int64_t> unroll_of(const Config& config) {
  if (config.empty()) return 1;
  const auto* unroll = find_knob<int64_t>(config, "unroll");
  if (unroll == nullptr || *unroll < 1 || *unroll > 8) {
    return incompatible("a gather whose knob unroll is missing or not in [1, 8]");
  }
  return *unroll;
}

// All indices are read before all rows, and those before all writes, without a branch between:
// what is beyond the end reads what the last access does.
std::string statements(const Rows& rows, int lanes, int64_t unroll) {
  MovedUnit unit = moved_unit(lanes, rows.bytes);
  std::string element = str_cat("u", 8 * rows.bytes);
  std::string each = str_cat("#pragma unroll\n  for (int u = 0; u < ", unroll, "; ++u) {\n");
  return str_cat("  wait_for_former();\n  release_next();\n", "  const idx inner = ", rows.inner,
                 ", count = ", rows.count, ", rows = ", rows.rows, ", outer = ", rows.outer, ";\n",
                 "  const idx groups = inner / ", lanes, ", total = outer * count * groups;\n",
                 "  const idx first = (idx)blockIdx.x * ", kThreads * unroll,
                 " + (int)threadIdx.x;\n", "  idx group[", unroll, "];\n  i64 index[", unroll,
                 "];\n  lanes_of<", unit.type, ", ", unit.count, "> held[", unroll,
                 "];\n  bool outside = false;\n", each, "    group[u] = first + u * ", kThreads,
                 ";\n    if (group[u] >= total) group[u] = total - 1;\n",
                 "    index[u] = (i64)widen(in1[group[u] / groups % count]);\n  }\n", each,
                 "    outside = outside || index_outside(index[u], (i64)rows);\n",
                 "    const idx row = index_inside(index[u], (i64)rows), k = group[u] % groups * ",
                 lanes, ";\n    const ", element, "* from = (const ", element,
                 "*)in0 + (group[u] / groups / count * rows + row) * inner + k;\n    if (rows > 0) "
                 "held[u] = load_lanes<",
                 unit.count, ">((const ", unit.type,
                 "*)from);\n  }\n  if (outside) refuse(refused);\n", each, "    ", element,
                 "* to = (", element, "*)out_raw0 + group[u] * ", lanes, ";\n    if (first + u * ",
                 kThreads, " < total) store_lanes((", unit.type, "*)to, held[u]);\n  }\n");
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(int64_t unroll, unroll_of(config));
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  Rows rows = rows_of(problem, writer);
  writer.function(kIndexInside);
  bool known = element_parameters(problem).empty();
  std::vector<cuda::KernelSource> sources;
  for (const Way& way : ways_of(problem, rows)) {
    ElementKernel kernel =
        writer.whole(kEntry, kThreads, {"lanes.cuh"}, statements(rows, way.lanes, unroll));
    bool wide = way.wide || (known && !fits_short_indices(problem));
    sources.push_back(indexed_source(kernel, wide, device));
  }
  return sources;
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_TRY(supports(problem));
  REDLINE_ASSIGN(int64_t unroll, unroll_of(config));
  const Problem& written = *args.written;
  std::vector<int64_t> sizes = parameter_values(written, problem);
  ElementWriter writer(written);
  Rows rows = rows_of(written, writer);
  const Dims& data = problem.inputs[0].dims;
  int64_t inner = 1;
  for (size_t axis = rows.axis + 1; axis < data.size(); ++axis) inner *= data[axis];
  std::vector<Way> ways = ways_of(written, rows);
  bool known = sizes.empty();
  for (size_t i = 0; i < ways.size(); ++i) {
    if (!ways[i].wide && !known && !fits_short_indices(problem)) continue;
    if (inner % ways[i].lanes != 0) continue;
    int64_t groups = problem.outputs[0].dims.count() / ways[i].lanes;
    REDLINE_ASSIGN(
        KernelLaunch::Step step,
        KernelLaunch::step(args, i, kEntry, divide_up(groups, kThreads * unroll), kThreads));
    return KernelLaunch::create(problem, "cuda.gather_rows", {std::move(step)}, std::move(sizes));
  }
  return incompatible("a gather whose kernels do not take its sizes");
}

}  // namespace

void register_tactic_gather_rows(TacticRegistry& registry) {
  registry.add({.name = "cuda.gather_rows",
                .device = "cuda",
                .ops = {"gather"},
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
