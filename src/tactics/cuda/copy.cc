// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tactics/cuda/copy_text.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr const char* kEntry = "copy_boxes";
constexpr size_t kMostParameters = 240;

Result<CopyKnobs> knobs_of(const Config& config) {
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
  return CopyKnobs{*threads, *unroll, gathered == nullptr ? 0 : *gathered};
}

// Pieces of a result that are written from end to end.
bool can_gather(const CopyBoxes& boxes) { return boxes.from_whole || boxes.fill; }

// Of which accesses are short, though those that write need not be.
bool is_narrow(const CopyBoxes& boxes) {
  return can_gather(boxes) && boxes.lanes * boxes.bytes < 8;
}

Status check_gathered(const CopyBoxes& boxes, const CopyKnobs& knobs) {
  bool good = knobs.gathered == 0 || (can_gather(boxes) && knobs.gathered * boxes.bytes <= 16);
  return good ? Status() : incompatible("a copy that gathers what it cannot");
}

Status supports(const Problem& problem) {
  REDLINE_TRY(element_supports(problem));
  REDLINE_ASSIGN(CopyBoxes boxes, copy_boxes(problem));
  size_t operands = problem.inputs.size() + problem.outputs.size();
  size_t sizes = element_parameters(problem).size() + copy_sizes(boxes, {}).parameter_list().size();
  if (sizes > 0 && operands + sizes > kMostParameters) {
    return unsupported("more than ", kMostParameters, " operands and unknown sizes");
  }
  return {};
}

std::vector<Config> configs(const Problem& problem) {
  auto config = [](int64_t threads, int64_t unroll) {
    return Config{{"threads", threads}, {"unroll", unroll}};
  };
  Result<CopyBoxes> boxes = copy_boxes(problem);
  // Sizes that stand for unknown ones need not fit together as those of a run do.
  if (!boxes.ok()) return {config(128, 1)};
  int64_t groups = problem.outputs[0].dims.count() / boxes->lanes;
  // Several accesses a thread keep more of them in flight, once there are threads enough.
  bool large = groups >= (1 << 18);
  std::vector<Config> result =
      large ? std::vector<Config>{config(256, 4), config(256, 2), config(256, 1)}
            : std::vector<Config>{config(128, 1), config(256, 1)};
  std::vector<Config> gathered;
  if (is_narrow(*boxes)) {
    for (int64_t unroll : {2, 1}) {
      gathered.push_back(config(256, unroll));
      gathered.back().push_back({"gathered", int64_t{16 / boxes->bytes}});
    }
  }
  result.insert(large ? result.begin() : result.end(), gathered.begin(), gathered.end());
  return result;
}

// Where sizes are unknown the config was found for others, which more lanes may divide.
CopyKnobs knobs_for(const CopyBoxes& boxes, CopyKnobs knobs) {
  bool known = copy_sizes(boxes, knobs).all_known();
  if (!known && is_narrow(boxes)) knobs.gathered = 16 / boxes.bytes;
  return knobs;
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(CopyKnobs knobs, knobs_of(config));
  REDLINE_ASSIGN(CopyBoxes boxes, copy_boxes(problem));
  REDLINE_TRY(check_gathered(boxes, knobs));
  knobs = knobs_for(boxes, knobs);
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  KernelSizes sizes = copy_sizes(boxes, knobs);
  ElementKernel kernel = writer.whole(kEntry, static_cast<int>(knobs.threads),
                                      {"lanes.cuh", "first_lanes.cuh", "words.cuh"},
                                      copy_statements(problem, boxes, knobs, sizes, writer), sizes);
  return indexed_sources(kernel, problem, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(CopyKnobs knobs, knobs_of(config));
  REDLINE_ASSIGN(CopyBoxes written, copy_boxes(*args.written));
  REDLINE_ASSIGN(CopyBoxes boxes, copy_boxes(problem, *args.written));
  REDLINE_TRY(check_gathered(boxes, knobs));
  knobs = knobs_for(written, knobs);
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  std::vector<int64_t> own = copy_sizes(boxes, knobs).indexed_values(copy_sizes(written, knobs));
  const Dims& whole = boxes.from_whole ? problem.inputs[0].dims : problem.outputs[0].dims;
  int64_t rows = whole.count(0, static_cast<int>(boxes.row_axes));
  int64_t most = boxes.fill ? CopyBoxes::count(boxes.whole) : 0;
  for (const CopyPiece& piece : boxes.pieces) most = std::max(most, CopyBoxes::count(piece.size));
  int64_t groups = rows * (most / boxes.lanes);
  if (knobs.gathered > 0) groups = (rows * most + knobs.gathered - 1) / knobs.gathered;
  int64_t per_block = knobs.threads * knobs.unroll;
  size_t module = !sizes.empty() && !fits_short_indices(problem) ? 1 : 0;
  sizes.insert(sizes.end(), own.begin(), own.end());
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
