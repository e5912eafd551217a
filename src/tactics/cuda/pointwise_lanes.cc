// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/checked.h"
#include "ops/pointwise.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr std::string_view kEntry = "pointwise_lanes";
constexpr size_t kMaxOperands = 128;
constexpr size_t kMaxSizes = 120;

// An operand's size along an axis of the result.
enum class Extent { kOne, kWhole, kEither };

// The problem's axes with those joined along which each operand has the result's size, or each 1.
struct Joined {
  std::vector<std::vector<size_t>> axes;     // the result's, as far as they are not 1
  std::vector<std::vector<Extent>> extents;  // of each input along each of those
};

int64_t size_of(const Problem& problem, size_t input, size_t axis) {
  const OperandDesc& operand = problem.inputs[input];
  size_t rank = problem.outputs[0].dims.size();
  size_t extra = rank - std::min(rank, operand.dims.size());
  return axis < extra || !operand.present ? 1 : operand.dims[axis - extra];
}

Extent extent_of(const Problem& problem, size_t input, size_t axis) {
  int64_t size = size_of(problem, input, axis);
  if (size == 1) return Extent::kOne;
  bool known = size != kDynamicDim || problem.inputs[input].like_output;
  return known ? Extent::kWhole : Extent::kEither;
}

bool is_empty(const Problem& problem) {
  const Dims& out = problem.outputs[0].dims;
  return std::find(out.begin(), out.end(), 0) != out.end();
}

Joined join_axes(const Problem& problem) {
  const Dims& out = problem.outputs[0].dims;
  Joined joined;
  joined.extents.resize(problem.inputs.size());
  for (size_t axis = 0; axis < out.size(); ++axis) {
    if (out[axis] == 1 || is_empty(problem)) continue;
    bool same = !joined.axes.empty();
    for (size_t i = 0; same && i < problem.inputs.size(); ++i) {
      Extent extent = extent_of(problem, i, axis);
      same = extent != Extent::kEither && extent == joined.extents[i].back();
    }
    if (same) {
      joined.axes.back().push_back(axis);
      continue;
    }
    joined.axes.push_back({axis});
    for (size_t i = 0; i < problem.inputs.size(); ++i) {
      joined.extents[i].push_back(extent_of(problem, i, axis));
    }
  }
  if (joined.axes.empty()) {
    joined.axes.emplace_back();
    for (std::vector<Extent>& extents : joined.extents) extents.push_back(Extent::kOne);
  }
  return joined;
}

// Along a joined axis; `unknown` stands for a size that is.
int64_t joined_size(const Problem& problem, const std::vector<size_t>& axes, int64_t unknown) {
  int64_t size = 1;
  for (size_t axis : axes) {
    size = known_product(size, known_or(problem.outputs[0].dims[axis], unknown));
  }
  return size;
}

// As many as make 16 bytes of the widest operand, and divide the last axis where there are others.
int widest_lanes(const Problem& problem, const Joined& joined) {
  size_t bytes = 1;
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (operand.present) bytes = std::max(bytes, dtype_bytes(operand.dtype));
    }
  }
  int lanes = static_cast<int>(16 / bytes);
  int64_t size = joined_size(problem, joined.axes.back(), kDynamicDim);
  if (size == kDynamicDim && joined.axes.size() == 1) return lanes;
  while (joined_size(problem, joined.axes.back(), 1) % lanes != 0) lanes /= 2;
  return lanes;
}

// Of a problem whose axes are joined as those of what its kernel was or is written for.
KernelSizes sizes_of(const Problem& problem, const Joined& joined, int lanes) {
  KernelSizes sizes = KernelSizes::indexed();
  int64_t elements = 1;
  for (size_t j = 0; j < joined.axes.size(); ++j) {
    int64_t size = joined_size(problem, joined.axes[j], kDynamicDim);
    std::string name = str_cat("row", j);
    if (j == 0) {
      sizes.add(name, size);
    } else {
      sizes.add_divisor(name, size);
    }
    for (size_t i = 0; i < joined.extents.size(); ++i) {
      if (joined.extents[i][j] != Extent::kEither) continue;
      sizes.add(str_cat("in", i, "_", j), size_of(problem, i, joined.axes[j].front()));
    }
    elements = known_product(elements, size);
  }
  sizes.add("elements", elements);
  sizes.add("groups", elements == kDynamicDim ? kDynamicDim : divide_up(elements, lanes));
  return sizes;
}

VectorAxes vector_axes(const Problem& problem, const Joined& joined, int lanes) {
  VectorAxes axes;
  axes.sizes = sizes_of(problem, joined, lanes);
  axes.lanes = lanes;
  axes.even = joined_size(problem, joined.axes.back(), 1) % lanes == 0;
  axes.groups = axes.sizes.size("groups").text;
  for (size_t j = 0; j < joined.axes.size(); ++j) {
    axes.rows.push_back(axes.sizes.size(str_cat("row", j)).text);
  }
  for (size_t i = 0; i < joined.extents.size(); ++i) {
    axes.inputs.push_back(axes.rows);
    for (size_t j = 0; j < joined.axes.size(); ++j) {
      std::string& size = axes.inputs.back()[j];
      if (joined.extents[i][j] == Extent::kOne) size = "1";
      if (joined.extents[i][j] == Extent::kEither)
        size = axes.sizes.size(str_cat("in", i, "_", j)).text;
    }
  }
  return axes;
}

bool is_known(const Problem& problem) { return element_parameters(problem).empty(); }

Status check_unknown(const Problem& problem) {
  for (size_t i = 1; i < problem.outputs.size(); ++i) {
    const OperandDesc& output = problem.outputs[i];
    if (!output.is_static() && !output.like_output) {
      return unsupported("results of sizes that may differ");
    }
  }
  Joined joined = join_axes(problem);
  for (const std::vector<Extent>& extents : joined.extents) {
    if (extents.back() == Extent::kEither) {
      return unsupported("an operand whose last axis may be broadcast or not");
    }
  }
  bool ends_unknown = joined_size(problem, joined.axes.back(), kDynamicDim) == kDynamicDim;
  if (joined.axes.size() > 1 && ends_unknown && widest_lanes(problem, joined) == 1) {
    return unsupported("takes a last axis of known size where operands are broadcast");
  }
  if (sizes_of(problem, joined, 1).parameter_list().size() > kMaxSizes) {
    return unsupported("more than ", kMaxSizes, " unknown sizes");
  }
  return {};
}

Status supports(const Problem& problem) {
  REDLINE_TRY(element_supports(problem));
  Body body = body_of(problem);
  for (const BodyNode& node : body.nodes) {
    std::string_view op = node.op->name;
    if (op == "constant" || op == "cast" || op == "bit_cast" || find_pointwise(op)) continue;
    return unsupported("takes pointwise ops only, not ", op);
  }
  const Dims& out = problem.outputs[0].dims;
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (operand.present && operand.dims.rank() > out.rank()) {
        return unsupported("an operand of a higher rank than the result");
      }
    }
  }
  for (const OperandDesc& output : problem.outputs) {
    if (output.dims != out) return unsupported("results of different sizes");
  }
  if (problem.inputs.size() + problem.outputs.size() > kMaxOperands) {
    return unsupported("more than ", kMaxOperands, " operands");
  }
  return is_known(problem) ? Status() : check_unknown(problem);
}

struct Knobs {
  int64_t lanes = 1, unroll = 1, threads = 1;
};

Result<Knobs> knobs_of(const Config& config) {
  Knobs knobs;
  for (auto [name, value] :
       {std::pair{"lanes", &knobs.lanes}, {"unroll", &knobs.unroll}, {"threads", &knobs.threads}}) {
    const auto* given = find_knob<int64_t>(config, name);
    if (given == nullptr || *given < 1 || *given > 1024) {
      return incompatible("a pointwise step whose knob ", name, " is missing or not in [1, 1024]");
    }
    *value = *given;
  }
  return knobs;
}

std::vector<Config> configs(const Problem& problem) {
  int64_t lanes = widest_lanes(problem, join_axes(problem));
  std::vector<Config> result;
  // Several groups a thread keep more loads in flight, once there are threads enough.
  bool large = problem.outputs[0].dims.count() / lanes >= (1 << 18);
  std::vector<int64_t> unrolls = large ? std::vector<int64_t>{2, 4, 1} : std::vector<int64_t>{1};
  for (int64_t unroll : unrolls) {
    result.push_back({{"lanes", lanes}, {"unroll", unroll}, {"threads", int64_t{256}}});
  }
  return result;
}

// Those of the config were found for sizes that others may not be multiples of.
int lanes_of(const Problem& problem, const Joined& joined, const Knobs& knobs) {
  return is_known(problem) ? static_cast<int>(knobs.lanes) : widest_lanes(problem, joined);
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  Joined joined = join_axes(problem);
  VectorAxes axes = vector_axes(problem, joined, lanes_of(problem, joined, knobs));
  ElementWriter writer(problem);
  REDLINE_ASSIGN(ElementKernel kernel,
                 writer.vector_kernel(std::string(kEntry), axes, static_cast<int>(knobs.unroll),
                                      static_cast<int>(knobs.threads)));
  return indexed_sources(kernel, problem, device);
}

// What an operand of a size that may be either is at last.
Status check_extents(const Problem& problem, const Joined& joined) {
  for (size_t i = 0; i < joined.extents.size(); ++i) {
    for (size_t j = 0; j < joined.axes.size(); ++j) {
      if (joined.extents[i][j] != Extent::kEither) continue;
      size_t axis = joined.axes[j].front();
      int64_t size = size_of(problem, i, axis);
      if (size != 1 && size != problem.outputs[0].dims[axis]) {
        return invalid_argument("operand ", i, " has ", size, " places along axis ", axis,
                                ", expected 1 or ", problem.outputs[0].dims[axis]);
      }
    }
  }
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  const Problem& written = *args.written;
  REDLINE_TRY(supports(written));
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  Joined joined = join_axes(written);
  REDLINE_TRY(check_extents(problem, joined));
  int lanes = lanes_of(written, joined, knobs);
  std::vector<int64_t> sizes =
      sizes_of(problem, joined, lanes).indexed_values(sizes_of(written, joined, lanes));
  bool wide = !is_known(written) && !fits_short_indices(problem);
  int64_t groups = divide_up(problem.outputs[0].dims.count(), lanes);
  REDLINE_ASSIGN(KernelLaunch::Step step,
                 KernelLaunch::step(args, wide ? 1 : 0, std::string(kEntry),
                                    divide_up(groups, knobs.unroll * knobs.threads),
                                    static_cast<int>(knobs.threads)));
  return KernelLaunch::create(problem, std::string(kEntry), {std::move(step)}, std::move(sizes));
}

}  // namespace

void register_tactic_pointwise_lanes(TacticRegistry& registry) {
  std::vector<std::string> ops = {"fused", "cast", "bit_cast"};
  for (const PointwiseRow& row : pointwise_rows()) ops.emplace_back(row.name);
  registry.add({.name = "cuda.pointwise",
                .device = "cuda",
                .ops = std::move(ops),
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
