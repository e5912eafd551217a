// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/gather.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/rule_code.h"

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

std::string statements(const Rows& rows, int lanes) {
  std::string type = rows.bytes == 1   ? "u8"
                     : rows.bytes == 2 ? "u16"
                     : rows.bytes == 4 ? "u32"
                                       : "u64";
  return str_cat(
      "  wait_for_former();\n  release_next();\n", "  const idx inner = ", rows.inner,
      ", count = ", rows.count, ", rows = ", rows.rows, ", outer = ", rows.outer, ";\n",
      "  const idx groups = inner / ", lanes, ";\n  const idx group = (idx)blockIdx.x * ", kThreads,
      " + (int)threadIdx.x;\n  if (group >= outer * count * groups) return;\n",
      "  const idx k = group % groups * ", lanes, ", place = group / groups;\n",
      "  const i64 index = (i64)widen(in1[place % count]);\n",
      "  if (index_outside(index, (i64)rows)) refuse(refused);\n",
      "  const idx row = index_inside(index, (i64)rows);\n", "  const ", type, "* from = (const ",
      type, "*)in0 + (place / count * rows + row) * inner + k;\n", "  store_lanes((", type,
      "*)out_raw0 + place * inner + k, load_lanes<", lanes, ">(from));\n");
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  Rows rows = rows_of(problem, writer);
  writer.function(kIndexInside);
  bool known = element_parameters(problem).empty();
  std::vector<cuda::KernelSource> sources;
  for (const Way& way : ways_of(problem, rows)) {
    ElementKernel kernel =
        writer.whole(kEntry, kThreads, {"lanes.cuh"}, statements(rows, way.lanes));
    bool wide = way.wide || (known && !fits_short_indices(problem));
    sources.push_back(indexed_source(kernel, wide, device));
  }
  return sources;
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_TRY(supports(problem));
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
        KernelLaunch::step(args, i, kEntry, (groups + kThreads - 1) / kThreads, kThreads));
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
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
