// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "tactics/cuda/copy_boxes.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr const char* kEntry = "copy_boxes";

struct Knobs {
  int64_t threads = 0, unroll = 0;
  int64_t gathered =
      0;  // elements of a result that are written at once though they are read singly
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
  const auto* gathered = find_knob<int64_t>(config, "gathered");
  if (gathered != nullptr && (*gathered < 1 || *gathered > 16 || (*gathered & (*gathered - 1)))) {
    return incompatible("a copy whose knob gathered is no power of two up to 16");
  }
  return Knobs{*threads, *unroll, gathered == nullptr ? 0 : *gathered};
}

// Pieces of a result that are written from end to end.
bool can_gather(const CopyBoxes& boxes) { return boxes.from_whole || boxes.fill; }

Status check_gathered(const CopyBoxes& boxes, const Knobs& knobs) {
  bool good = knobs.gathered == 0 || (can_gather(boxes) && knobs.gathered * boxes.bytes <= 16);
  return good ? Status() : incompatible("a copy that gathers what it cannot");
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
  bool large = groups >= (1 << 18);
  std::vector<Config> result =
      large ? std::vector<Config>{config(256, 4), config(256, 2), config(256, 1)}
            : std::vector<Config>{config(128, 1), config(256, 1)};
  std::vector<Config> gathered;
  if (can_gather(*boxes) && boxes->lanes() * boxes->bytes < 8) {
    for (int64_t unroll : {2, 1}) {
      gathered.push_back(config(256, unroll));
      gathered.back().push_back({"gathered", int64_t{16 / boxes->bytes}});
    }
  }
  result.insert(large ? result.begin() : result.end(), gathered.begin(), gathered.end());
  return result;
}

// Statements that take `rest` apart into c0, c1, ... along `sizes`, the last in groups of lanes.
std::string coordinates(const std::vector<int64_t>& sizes, int lanes, bool fixed = true) {
  std::string text;
  const char* type = fixed ? "const idx" : "idx";
  for (size_t axis = sizes.size(); axis-- > 0;) {
    int64_t size = axis + 1 == sizes.size() ? sizes[axis] / lanes : sizes[axis];
    std::string value = axis == 0 ? "rest" : str_cat("rest % ", size);
    if (axis + 1 == sizes.size() && lanes > 1) value = str_cat("(", value, ") * ", lanes);
    text += str_cat("      ", type, " c", axis, " = ", value, ";\n");
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
      : problem_(problem),
        boxes_(boxes),
        knobs_(knobs),
        lanes_(knobs.gathered > 0 ? static_cast<int>(knobs.gathered) : boxes.lanes()) {
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

  // The elements of a result, `own` by row, each from its place in rows of `other`, whose element 0
  // lies at `begin` of the result's (negative: the other way round); the fill where that has none.
  std::string gathered_case(const std::vector<int64_t>& own, const std::vector<int64_t>& other,
                            const std::vector<int64_t>& begin, size_t from, size_t to) const {
    std::vector<int64_t> shift;
    for (int64_t place : begin) shift.push_back(-place);
    auto count = [](const std::vector<int64_t>& sizes) {
      return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
    };
    size_t last = own.size() - 1;
    std::string text = str_cat(
        "  const idx total = rows * idx(", count(own), ");\n#pragma unroll\n  for (int u = 0; u < ",
        knobs_.unroll, "; ++u) {\n    const idx at = (first + u * ", knobs_.threads, ") * ", lanes_,
        ";\n    place[u] = at < total ? at : -1;\n    if (at >= total) continue;\n",
        "    const idx row = at / idx(", count(own), ");\n    idx rest = at - row * idx(",
        count(own), ");\n", coordinates(own, 1, false), "      idx source = row * idx(",
        count(other), ")", redline::place(other, shift),
        ";\n#pragma unroll\n    for (int lane = 0; lane < ", lanes_,
        "; ++lane) {\n      if (at + lane < total", boxes_.fill ? inside_test() : "", ") {\n",
        "        held[u].element[lane] = (", source(from), ")[source];\n      }",
        boxes_.fill ? " else {\n        held[u].element[lane] = value;\n      }\n" : "\n",
        "      ++source;\n");
    int64_t stride = 1;
    for (size_t axis = last + 1; axis-- > 0;) {
      text += str_cat("      if (++c", axis, " == idx(", own[axis], ")) {\n      c", axis,
                      " = 0;\n      source += idx(", (other[axis] - own[axis]) * stride, ");\n");
      stride *= other[axis];
    }
    text += std::string(own.size(), '}') + "\n    }\n  }\n";
    return str_cat(text, "#pragma unroll\n  for (int u = 0; u < ", knobs_.unroll,
                   "; ++u) {\n    if (place[u] < 0) continue;\n    if (place[u] + ", lanes_,
                   " <= total) {\n      store_lanes(", target(to),
                   " + place[u], held[u]);\n      continue;\n    }\n#pragma unroll\n",
                   "    for (int lane = 0; lane < ", lanes_, "; ++lane) {\n",
                   "      if (place[u] + lane < total) (", target(to),
                   ")[place[u] + lane] = held[u].element[lane];\n    }\n  }\n");
  }

  // Whether c0, c1, ... are in the piece of a padded result.
  std::string inside_test() const {
    const CopyPiece& piece = boxes_.pieces[0];
    std::string text;
    for (size_t axis = 0; axis < boxes_.whole.size(); ++axis) {
      text += str_cat(" && c", axis, " >= idx(", piece.begin[axis], ") && c", axis, " < idx(",
                      piece.begin[axis] + piece.size[axis], ")");
    }
    return text;
  }

  std::string piece_case(const CopyPiece& piece) const {
    int64_t count = CopyBoxes::count(piece);
    if (count == 0) return "";
    if (knobs_.gathered > 0) {
      std::vector<int64_t> begin;
      for (int64_t place : piece.begin) begin.push_back(-place);
      return gathered_case(piece.size, boxes_.whole, begin, 0, piece.operand);
    }
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
    if (knobs_.gathered > 0) {
      return text + gathered_case(boxes_.whole, piece.size, piece.begin, 0, 0);
    }
    std::string inside = coordinates(boxes_.whole, lanes_);
    std::vector<int64_t> shift;
    for (int64_t place : piece.begin) shift.push_back(-place);
    inside +=
        str_cat("      if (true", inside_test(), ") {\n        held[u] = load_lanes<", lanes_, ">(",
                source(0), " + (row * idx(", CopyBoxes::count(piece), ")",
                redline::place(piece.size, shift), "));\n      } else {\n",
                "        for (int lane = 0; lane < ", lanes_,
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
  REDLINE_TRY(check_gathered(boxes, knobs));
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
  REDLINE_TRY(check_gathered(boxes, knobs));
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  const Dims& whole = boxes.from_whole ? problem.inputs[0].dims : problem.outputs[0].dims;
  int64_t rows = whole.count(0, static_cast<int>(boxes.row_axes));
  int64_t most = boxes.fill ? boxes.whole_count() : 0;
  for (const CopyPiece& piece : boxes.pieces) most = std::max(most, CopyBoxes::count(piece));
  int64_t groups = rows * (most / boxes.lanes());
  if (knobs.gathered > 0) groups = (rows * most + knobs.gathered - 1) / knobs.gathered;
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
