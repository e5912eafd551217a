// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/transpose_ways.h"

#include <algorithm>

#include "ops/transpose.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

constexpr const char* kEntry = "transpose";

Status supports(const Problem& problem) {
  const OperandDesc& in = problem.inputs[0];
  if (!in.is_tensor || !in.has_rank) return unsupported("takes tensors of known rank");
  if (in.dtype == DType::kString) return unsupported("takes no strings");
  const std::vector<int64_t>& perm = problem.attrs.as<TransposeAttrs>().perm;
  if (!perm.empty() && perm.size() != static_cast<size_t>(in.dims.rank())) {
    return unsupported("a permutation of another rank");
  }
  return {};
}

// The steps of one along each axis, in the operand and in the result.
std::vector<std::string> strides(const Movement& m, const std::vector<size_t>& order) {
  std::vector<std::string> result(m.sizes.size());
  std::string stride = "idx(1)";
  for (size_t i = order.size(); i-- > 0;) {
    result[order[i]] = stride;
    stride += " * " + m.sizes[order[i]];
  }
  return result;
}

std::vector<size_t> in_order(size_t count) {
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  return order;
}

class TransposeText {
 public:
  TransposeText(const Movement& m, const TransposeWay& way)
      : m_(m),
        way_(way),
        in_(strides(m, in_order(m.sizes.size()))),
        out_(strides(m, m.perm)),
        type_(m.bytes == 1   ? "u8"
              : m.bytes == 2 ? "u16"
              : m.bytes == 4 ? "u32"
                             : "u64") {}

  std::string statements() {
    text_ = "  wait_for_former();\n  release_next();\n";
    return m_.keeps_last() ? rows() : way_.a == 0 ? gathered() : tiles();
  }

 private:
  // Takes `rest` apart along the axes of the result but for those left out.
  void decode(const std::vector<size_t>& left_out) {
    text_ += "  idx from = 0, to = 0;\n";
    for (size_t i = m_.perm.size(); i-- > 0;) {
      size_t axis = m_.perm[i];
      if (std::find(left_out.begin(), left_out.end(), axis) != left_out.end()) continue;
      text_ += str_cat("  {\n    const idx x = rest % ", m_.sizes[axis],
                       ";\n    rest /= ", m_.sizes[axis], ";\n    from += x * (", in_[axis],
                       ");\n    to += x * (", out_[axis], ");\n  }\n");
    }
  }

  // The last axis stays: its elements move together.
  std::string rows() {
    std::string last = m_.sizes.empty() ? "1" : m_.sizes.back();
    std::string total = "idx(1)";
    for (const std::string& size : m_.sizes) total += " * " + size;
    std::string lanes = std::to_string(way_.lanes_a);
    text_ += str_cat("  const idx groups = ", last, " / ", lanes, ";\n",
                     "  idx rest = (idx)blockIdx.x * ", kTransposeThreads, " + (int)threadIdx.x;\n",
                     "  if (rest >= (", total, ") / ", lanes, ") return;\n",
                     "  const idx k = rest % groups * ", lanes, ";\n  rest /= groups;\n");
    decode({m_.sizes.empty() ? 0 : m_.a()});
    text_ += str_cat("  const ", type_, "* source = (const ", type_, "*)in0 + from + k;\n",
                     "  store_lanes((", type_, "*)out_raw0 + to + k, load_lanes<", lanes,
                     ">(source));\n");
    return text_;
  }

  // Neighbours in the result, from where they lie.
  std::string gathered() {
    const std::string& b = m_.sizes[m_.b()];
    std::string total = "idx(1)";
    for (const std::string& size : m_.sizes) total += " * " + size;
    text_ += str_cat("  const idx groups = ", b, " / ", way_.lanes_b, ";\n",
                     "  idx rest = (idx)blockIdx.x * ", kTransposeThreads, " + (int)threadIdx.x;\n",
                     "  if (rest >= (", total, ") / ", way_.lanes_b, ") return;\n",
                     "  const idx b = rest % groups * ", way_.lanes_b, ";\n  rest /= groups;\n");
    decode({m_.b()});
    text_ += str_cat("  const ", type_, "* source = (const ", type_, "*)in0 + from + b * (",
                     in_[m_.b()], ");\n  lanes_of<", type_, ", ", way_.lanes_b, "> lanes;\n",
                     "#pragma unroll\n  for (int l = 0; l < ", way_.lanes_b,
                     "; ++l) lanes.element[l] = source[l * (", in_[m_.b()], ")];\n",
                     "  store_lanes((", type_, "*)out_raw0 + to + b, lanes);\n");
    return text_;
  }

  std::string tiles() {
    const std::string& a = m_.sizes[m_.a()];
    const std::string& b = m_.sizes[m_.b()];
    text_ += str_cat("  idx rest = (idx)blockIdx.x;\n", "  const idx tiles_a = (", a, " + ",
                     way_.a - 1, ") / ", way_.a, ";\n", "  const idx tiles_b = (", b, " + ",
                     way_.b - 1, ") / ", way_.b, ";\n", "  const idx a0 = rest % tiles_a * ",
                     way_.a, ";\n  rest /= tiles_a;\n", "  const idx b0 = rest % tiles_b * ",
                     way_.b, ";\n  rest /= tiles_b;\n");
    decode({m_.a(), m_.b()});
    std::string places = str_cat("((const ", type_, "*)in0 + from, (", type_, "*)out_raw0 + to, ");
    if (way_.move == TransposeMove::kStrips) return text_ + move_strips(places);
    const char* name = way_.move == TransposeMove::kWords       ? "words<false, "
                       : way_.move == TransposeMove::kLongWords ? "words<true, "
                                                                : "tile<";
    text_ += str_cat("  transpose_", name, type_, ", ", way_.a, ", ", way_.b, ", ", way_.lanes_a,
                     ", ", way_.lanes_b, ", ", kTransposeThreads, ">", places, a, ", ", b, ", ",
                     in_[m_.b()], ", ", out_[m_.a()], ", a0, b0);\n");
    return text_;
  }

  std::string move_strips(const std::string& places) const {
    bool mixes = way_.a > way_.b;
    auto [count, places_of_a_block] = std::minmax(way_.a, way_.b);
    auto [strip, mixed] =
        mixes ? std::pair(way_.lanes_a, way_.lanes_b) : std::pair(way_.lanes_b, way_.lanes_a);
    return str_cat(mixes ? "  mix_strips<" : "  unmix_strips<", type_, ", ", count, ", ",
                   places_of_a_block / kTransposeThreads, ", ", strip, ", ", mixed * m_.bytes, ", ",
                   kTransposeThreads, ">", places, m_.sizes[mixes ? m_.a() : m_.b()], ", ",
                   mixes ? in_[m_.b()] : out_[m_.a()], mixes ? ", a0);\n" : ", b0);\n");
  }

  const Movement& m_;
  const TransposeWay& way_;
  std::vector<std::string> in_, out_;
  std::string type_;
  std::string text_;
};

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  Movement m = movement_of(problem, writer);
  REDLINE_ASSIGN(std::vector<TransposeWay> ways, transpose_ways(problem, m, config));
  bool known = element_parameters(problem).empty();
  std::vector<cuda::KernelSource> sources;
  for (const TransposeWay& way : ways) {
    std::vector<std::string> files = {"lanes.cuh", "block.cuh", "transpose.cuh"};
    if (way.move == TransposeMove::kStrips) files.emplace_back("transpose_strips.cuh");
    ElementKernel kernel =
        writer.whole(kEntry, kTransposeThreads, files, TransposeText(m, way).statements());
    bool wide = way.wide || (known && !fits_short_indices(problem));
    sources.push_back(indexed_source(kernel, wide, device));
  }
  return sources;
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  ElementWriter writer(*args.written);
  Movement m = movement_of(*args.written, writer);
  REDLINE_ASSIGN(std::vector<TransposeWay> ways, transpose_ways(*args.written, m, config));
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  bool known = sizes.empty();
  for (size_t i = 0; i < ways.size(); ++i) {
    if (!ways[i].wide && !known && !fits_short_indices(problem)) continue;
    std::optional<int64_t> blocks = transpose_blocks(m, ways[i], problem.inputs[0].dims);
    if (!blocks) continue;
    REDLINE_ASSIGN(KernelLaunch::Step step,
                   KernelLaunch::step(args, i, kEntry, *blocks, kTransposeThreads));
    return KernelLaunch::create(problem, "cuda.transpose", {std::move(step)}, std::move(sizes));
  }
  return incompatible("a transpose whose kernels do not take its sizes");
}

}  // namespace

void register_tactic_transpose(TacticRegistry& registry) {
  registry.add({.name = "cuda.transpose",
                .device = "cuda",
                .ops = {"transpose"},
                .supports = supports,
                .configs = transpose_configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
