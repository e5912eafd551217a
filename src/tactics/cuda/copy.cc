// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tactics/cuda/copy_boxes.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr const char* kEntry = "copy_boxes";

struct Knobs {
  int64_t threads = 0, unroll = 0;
};

Result<Knobs> knobs_of(const Config& config) {
  const auto* threads = find_knob<int64_t>(config, "threads");
  const auto* unroll = find_knob<int64_t>(config, "unroll");
  if (threads == nullptr || *threads < 32 || *threads > 1024 || *threads % 32 != 0) {
    return incompatible("a copy whose threads are missing or not whole warps of one block");
  }
  if (unroll == nullptr || *unroll < 1 || *unroll > 8) {
    return incompatible("a copy whose knob unroll is missing or not in [1, 8]");
  }
  return Knobs{*threads, *unroll};
}

Status supports(const Problem& problem) {
  REDLINE_TRY(element_supports(problem));
  return copy_boxes(problem).status();
}

std::vector<Config> configs(const Problem& problem) {
  Result<CopyBoxes> boxes = copy_boxes(problem);
  if (!boxes.ok()) return {};
  int64_t groups = problem.outputs[0].dims.count() / boxes->lanes();
  auto config = [](int64_t threads, int64_t unroll) {
    return Config{{"threads", threads}, {"unroll", unroll}};
  };
  // Several accesses a thread keep more of them in flight, once there are threads enough.
  if (groups >= (1 << 18)) return {config(256, 4), config(256, 2), config(256, 1)};
  return {config(128, 1), config(256, 1)};
}

// Statements that take `rest` apart into c0, c1, ... along `sizes`, the last in groups of lanes.
std::string coordinates(const std::vector<int64_t>& sizes, int lanes) {
  std::string text;
  for (size_t axis = sizes.size(); axis-- > 0;) {
    int64_t size = axis + 1 == sizes.size() ? sizes[axis] / lanes : sizes[axis];
    std::string value = axis == 0 ? "rest" : str_cat("rest % ", size);
    if (axis + 1 == sizes.size() && lanes > 1) value = str_cat("(", value, ") * ", lanes);
    text += str_cat("      const idx c", axis, " = ", value, ";\n");
    if (axis > 0) text += str_cat("      rest /= ", size, ";\n");
  }
  return text;
}

// The element of a row of `sizes` at c0 + shift[0], c1 + shift[1], ...
std::string place(const std::vector<int64_t>& sizes, const std::vector<int64_t>& shift) {
  std::string text;
  int64_t stride = 1;
  for (size_t axis = sizes.size(); axis-- > 0;) {
    text += str_cat(" + (c", axis, " + idx(", shift[axis], ")) * idx(", stride, ")");
    stride *= sizes[axis];
  }
  return text;
}

// Each thread moves a few groups of lanes of a piece, all reads before all writes.
class CopyText {
 public:
  CopyText(const Problem& problem, const CopyBoxes& boxes, Knobs knobs)
      : problem_(problem), boxes_(boxes), knobs_(knobs), lanes_(boxes.lanes()) {
    type_ = str_cat("u", 8 * boxes.bytes);
  }

  std::string statements(const ElementWriter& writer) const {
    const ElementOperand& whole =
        writer.value(boxes_.from_whole ? 0 : static_cast<int>(problem_.inputs.size()));
    std::string text = "  wait_for_former_kernels();\n  let_next_kernel_start();\n";
    text += "  const idx rows = idx(1)";
    for (size_t axis = 0; axis < boxes_.row_axes; ++axis) text += " * " + whole.dims[axis];
    text += str_cat(";\n  typedef lanes_of<", type_, ", ", lanes_, "> Lanes;\n  Lanes held[",
                    knobs_.unroll, "];\n  idx place[", knobs_.unroll,
                    "];\n  const idx first = (idx)blockIdx.x * ", knobs_.threads * knobs_.unroll,
                    " + (int)threadIdx.x;\n");
    if (boxes_.fill) return text + fill_case();
    text += "  switch ((int)blockIdx.y) {\n";
    for (size_t i = 0; i < boxes_.pieces.size(); ++i) {
      text += str_cat("  case ", i, ": {\n", piece_case(boxes_.pieces[i]), "    break;\n  }\n");
    }
    return text + "  }\n";
  }

 private:
  std::string source(size_t operand) const { return str_cat("(const ", type_, "*)in", operand); }
  std::string target(size_t operand) const { return str_cat("(", type_, "*)out_raw", operand); }

  std::string each_group(int64_t groups, const std::string& inside, size_t to) const {
    std::string text = str_cat("#pragma unroll\n  for (int u = 0; u < ", knobs_.unroll,
                               "; ++u) {\n    const idx group = first + u * ", knobs_.threads,
                               ";\n    place[u] = -1;\n    if (group < rows * idx(", groups,
                               ")) {\n      const idx row = group / idx(", groups,
                               ");\n      idx rest = group - row * idx(", groups, ");\n");
    return str_cat(text, inside, "    }\n  }\n#pragma unroll\n  for (int u = 0; u < ",
                   knobs_.unroll, "; ++u) {\n    if (place[u] >= 0) store_lanes(", target(to),
                   " + place[u], held[u]);\n  }\n");
  }

  std::string piece_case(const CopyPiece& piece) const {
    int64_t count = CopyBoxes::count(piece);
    if (count == 0) return "";
    std::string text = coordinates(piece.size, lanes_);
    std::string in_whole =
        str_cat("row * idx(", boxes_.whole_count(), ")", redline::place(boxes_.whole, piece.begin));
    std::string in_piece = str_cat("group * ", lanes_);
    bool from_whole = boxes_.from_whole;
    size_t from = from_whole ? 0 : piece.operand;
    text += str_cat("      held[u] = load_lanes<", lanes_, ">(", source(from), " + (",
                    from_whole ? in_whole : in_piece,
                    "));\n      place[u] = ", from_whole ? in_piece : in_whole, ";\n");
    return each_group(count / lanes_, text, from_whole ? piece.operand : 0);
  }

  std::string fill_case() const {
    const CopyPiece& piece = boxes_.pieces[0];
    bool given = problem_.inputs.size() > 2 && problem_.inputs[2].present;
    std::string text =
        str_cat("  const ", type_,
                " value = ", given ? str_cat("*(", source(2), ")") : str_cat(type_, "(0)"), ";\n");
    std::string inside = coordinates(boxes_.whole, lanes_);
    std::string test;
    std::vector<int64_t> shift;
    for (size_t axis = 0; axis < boxes_.whole.size(); ++axis) {
      test += str_cat(axis == 0 ? "" : " && ", "c", axis, " >= idx(", piece.begin[axis], ") && c",
                      axis, " < idx(", piece.begin[axis] + piece.size[axis], ")");
      shift.push_back(-piece.begin[axis]);
    }
    inside +=
        str_cat("      if (", test, ") {\n        held[u] = load_lanes<", lanes_, ">(", source(0),
                " + (row * idx(", CopyBoxes::count(piece), ")", redline::place(piece.size, shift),
                "));\n      } else {\n", "        for (int lane = 0; lane < ", lanes_,
                "; ++lane) held[u].element[lane] = value;\n      }\n      place[u] = group * ",
                lanes_, ";\n");
    return text + each_group(boxes_.whole_count() / lanes_, inside, 0);
  }

  const Problem& problem_;
  const CopyBoxes& boxes_;
  Knobs knobs_;
  int lanes_;
  std::string type_;
};

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  REDLINE_ASSIGN(CopyBoxes boxes, copy_boxes(problem));
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  std::string text = CopyText(problem, boxes, knobs).statements(writer);
  ElementKernel kernel =
      writer.whole(kEntry, static_cast<int>(knobs.threads), {"lanes.cuh", "block.cuh"}, text);
  return indexed_sources(kernel, problem, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  REDLINE_ASSIGN(CopyBoxes boxes, copy_boxes(*args.written));
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  const Dims& whole = boxes.from_whole ? problem.inputs[0].dims : problem.outputs[0].dims;
  int64_t rows = whole.count(0, static_cast<int>(boxes.row_axes));
  int64_t most = boxes.fill ? boxes.whole_count() : 0;
  for (const CopyPiece& piece : boxes.pieces) most = std::max(most, CopyBoxes::count(piece));
  int64_t groups = rows * (most / boxes.lanes());
  int64_t per_block = knobs.threads * knobs.unroll;
  size_t module = !sizes.empty() && !fits_short_indices(problem) ? 1 : 0;
  REDLINE_ASSIGN(KernelLaunch::Step step,
                 KernelLaunch::step(args, module, kEntry, (groups + per_block - 1) / per_block,
                                    static_cast<int>(knobs.threads)));
  if (!boxes.fill) step.shape.grid.y = static_cast<unsigned int>(boxes.pieces.size());
  return KernelLaunch::create(problem, str_cat("cuda.copy of ", problem.op->name),
                              {std::move(step)}, std::move(sizes));
}

}  // namespace

void register_tactic_copy(TacticRegistry& registry) {
  registry.add({.name = "cuda.copy",
                .device = "cuda",
                .ops = {"concat", "split", "slice", "pad"},
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
