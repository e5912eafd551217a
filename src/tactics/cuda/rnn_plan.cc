// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/rnn_plan.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "device/occupancy.h"
#include "tactics/cuda/kernel_sizes.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr size_t kLengths = 4;
constexpr int64_t kMostInput = 16384;
constexpr int64_t kMostBlocks = 128;  // that run at once
// Sizes that unknown ones are planned for.
constexpr int64_t kUsualBatch = 1;
constexpr int64_t kUsualRows = 64;
constexpr size_t kMostConfigs = 4;
// What the model below believes of a GPU: the order of magnitude of an H100, in clocks.
constexpr double kMultiprocessors = 132;
constexpr double kHandOver = 1800;     // from the end of a step to the next product, and the cells
constexpr double kBytesPerClock = 48;  // into one multiprocessor, from the L2
constexpr double kMatrixClocks = 4;    // of one matrix instruction
constexpr int64_t kModelBytes = 220 * 1024;

Status check_operands(const Problem& problem) {
  DType dtype = problem.inputs[0].dtype;
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.present) continue;
      if (!operand.is_tensor || !operand.has_rank) {
        return unsupported("takes tensors of known rank");
      }
    }
  }
  if (!product_type(dtype)) return unsupported("takes f16, bf16 and f32, not ", dtype_name(dtype));
  if (problem.inputs[0].dims.rank() != 3) return unsupported("takes an x of rank 3");
  for (size_t i : {1, 2}) {
    if (!problem.inputs[i].is_static()) return unsupported("takes weights of known sizes");
  }
  return {};
}

// Clocks of a step, times the rounds in which a group takes all its sequences.
double cost(const RecurrentSpec& spec, const RecurrentKnobs& knobs) {
  auto batch = static_cast<double>(known_or(spec.batch, kUsualBatch));
  auto hidden = static_cast<double>(spec.hidden);
  auto blocks = static_cast<double>(recurrent_blocks(spec, knobs));
  double slices = std::max(1.0, std::ceil(batch / static_cast<double>(knobs.batch)));
  double groups = std::clamp(std::floor(kMultiprocessors / blocks), 1.0, slices);
  double rounds = std::ceil(slices / groups);
  double rows = static_cast<double>(spec.gates * knobs.units);
  double together = std::min(batch, static_cast<double>(knobs.batch));
  Result<RecurrentLayout> layout = recurrent_layout(spec, knobs, kModelBytes);
  double product = 0;
  double weights = 0;
  if (spec.dtype == DType::kFloat32) {
    product = rows * hidden * static_cast<double>(knobs.batch) / 100;
    weights = rows * hidden * 4 / (layout.ok() && layout->shared_depth > 0 ? 100 : kBytesPerClock);
  } else {
    double tiles = std::ceil(rows / 16) * std::ceil(hidden / 16);
    double parts = layout.ok() ? static_cast<double>(layout->parts) : 2;
    product = tiles * parts * kMatrixClocks;
    double depth =
        std::ceil(std::ceil(hidden / 16) / (layout.ok() ? static_cast<double>(layout->groups) : 1));
    double held = layout.ok() ? static_cast<double>(layout->register_depth) : 0;
    double shared = layout.ok() ? static_cast<double>(layout->shared_depth) : 0;
    double rest = std::max(0.0, depth - held - shared);
    weights = tiles * 512 * (std::min(shared, depth) / depth / 100 + rest / depth / 24);
  }
  double state = together * hidden * 8 / kBytesPerClock;
  double step = kHandOver + std::max(product, weights) + state + 20 * rows * together / 32;
  return rounds * step * (spec.twice ? 2 : 1);
}

Config config_of(const RecurrentKnobs& knobs, const Config& product) {
  Config config = {{"units", knobs.units}, {"batch", knobs.batch}};
  config.insert(config.end(), product.begin(), product.end());
  return config;
}

// A product whose depth is not split: it has one kernel on every GPU. `matrix`: of f32, on tensor
// cores. More sums of a thread than that spill there.
Config product_config(const RecurrentSpec& spec, bool matrix) {
  constexpr int64_t kMostSums = 32;
  ProductSpec product;
  product.dtype = spec.dtype;
  product.columns = spec.gates * spec.hidden;
  product.depth = spec.input;
  product.batch = spec.directions;
  Config first;
  for (const Config& config : product_configs(product, known_or(spec.rows(), kUsualRows))) {
    Result<ProductKnobs> knobs = product_knobs(config, spec.dtype);
    if (!knobs.ok() || (knobs->matrix != 0) != matrix) continue;
    bool many = matrix && knobs->tile_rows * knobs->tile_columns > kMostSums * knobs->threads();
    if (many) continue;
    if (knobs->splits == 1) return config;
    if (first.empty()) first = config;
  }
  for (NamedAttr& knob : first) {
    if (knob.name == "splits") knob.value = int64_t{1};
  }
  return first;
}

// Whether the product of all steps takes so long that f32 is worth splitting for tensor cores. Sums
// of split numbers are a little less exact, and what a recurrence is given it hands on.
bool large_product(const RecurrentSpec& spec) {
  double products = static_cast<double>(known_or(spec.rows(), kUsualRows) * spec.directions) *
                    static_cast<double>(spec.gates * spec.hidden * spec.input);
  return spec.dtype == DType::kFloat32 && products > 3e8;
}

}  // namespace

int64_t RecurrentSpec::rows() const {
  return sequence == kDynamicDim || batch == kDynamicDim ? kDynamicDim : sequence * batch;
}

int64_t recurrent_gates(const Problem& problem) {
  return problem.is("rnn") ? 1 : problem.is("gru") ? 3 : 4;
}

Result<RecurrentSpec> recurrent_spec(const Problem& problem) {
  REDLINE_TRY(check_operands(problem));
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  const OperandDesc& r = problem.inputs[2];
  RecurrentSpec spec;
  spec.dtype = problem.inputs[0].dtype;
  spec.gates = recurrent_gates(problem);
  spec.directions = recurrent_directions(attrs);
  spec.hidden = r.dims[2];
  spec.input = problem.inputs[1].dims[2];
  const Dims& x = problem.inputs[0].dims;
  spec.sequence = x[attrs.batch_first ? 1 : 0];
  spec.batch = x[attrs.batch_first ? 0 : 1];
  spec.constant = r.is_constant();
  spec.twice = problem.is("gru") && !attrs.linear_before_reset;
  if (spec.hidden <= 0 || spec.input <= 0) return unsupported("takes no empty states or inputs");
  int64_t most = recurrent_units(spec).back() * (kMostBlocks / spec.directions);
  if (spec.hidden > most) return unsupported("states of more than ", most, " elements");
  if (spec.input > kMostInput) return unsupported("inputs of more than ", kMostInput, " elements");
  if (problem.inputs.size() > kLengths && problem.inputs[kLengths].present) {
    spec.length_dtype = problem.inputs[kLengths].dtype;
  }
  if (dtype_bits(spec.length_dtype) < 8) return unsupported("lengths of less than a byte");
  return spec;
}

Result<RecurrentKnobs> recurrent_knobs(const Config& config, const RecurrentSpec& spec) {
  RecurrentKnobs knobs;
  for (auto [name, value, most] : {std::tuple{"units", &knobs.units, recurrent_units(spec).back()},
                                   {"batch", &knobs.batch, int64_t{8}}}) {
    const auto* given = find_knob<int64_t>(config, name);
    if (given == nullptr || *given < 1 || *given > most) {
      return incompatible("a recurrent step whose knob ", name, " is missing or not in [1, ", most,
                          "]");
    }
    *value = *given;
  }
  bool half = spec.dtype != DType::kFloat32;
  if (half ? knobs.batch != 8 : (8 % knobs.batch) != 0) {
    return incompatible("a recurrent step of ", knobs.batch, " sequences");
  }
  return knobs;
}

// Rows of weights come in tiles of 16; with more than these a thread would spill.
std::span<const int64_t> recurrent_units(const RecurrentSpec& spec) {
  static constexpr int64_t kRnn[] = {16, 32, 64, 128, 256};
  static constexpr int64_t kGru[] = {5, 10, 16, 32, 64};
  static constexpr int64_t kLstm[] = {4, 8, 16, 32, 64};
  if (spec.gates == 1) return kRnn;
  if (spec.gates == 3) return kGru;
  return kLstm;
}

int64_t recurrent_blocks(const RecurrentSpec& spec, const RecurrentKnobs& knobs) {
  return divide_up(spec.hidden, knobs.units) * spec.directions;
}

std::vector<Config> recurrent_configs(const RecurrentSpec& spec) {
  struct Candidate {
    RecurrentKnobs knobs;
    double clocks;
  };
  std::vector<Candidate> candidates;
  std::vector<int64_t> batches = {8};
  if (spec.dtype == DType::kFloat32) {
    int64_t batch = known_or(spec.batch, kUsualBatch);
    batches = {batch <= 1 ? 1 : batch <= 2 ? 2 : batch <= 4 ? 4 : 8};
    if (batch > 4) batches.push_back(4);
  }
  for (int64_t unit : recurrent_units(spec)) {
    for (int64_t batch : batches) {
      RecurrentKnobs knobs{unit, batch};
      if (recurrent_blocks(spec, knobs) <= kMostBlocks)
        candidates.push_back({knobs, cost(spec, knobs)});
    }
    if (unit >= spec.hidden) break;
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.clocks < b.clocks; });
  if (candidates.size() > kMostConfigs) candidates.resize(kMostConfigs);
  std::vector<Config> configs;
  if (large_product(spec)) {
    Config split = product_config(spec, true);
    if (!split.empty()) configs.push_back(config_of(candidates[0].knobs, split));
  }
  Config product = product_config(spec, false);
  for (const Candidate& candidate : candidates) {
    configs.push_back(config_of(candidate.knobs, product));
  }
  return configs;
}

// As the cores of kernels/cuda/recurrent/cores.cuh count.
Result<RecurrentLayout> recurrent_layout(const RecurrentSpec& spec, const RecurrentKnobs& knobs,
                                         int64_t most_shared_bytes) {
  RecurrentLayout layout;
  int64_t rows = spec.gates * knobs.units;
  int64_t pitch = knobs.batch + 2;
  if (spec.dtype == DType::kFloat32) {
    int64_t chunks = divide_up(spec.hidden, 4);
    int64_t warp_rows = divide_up(rows, kRecurrentWarps);
    int64_t pass_rows = 1;
    while (pass_rows * 2 <= std::min({warp_rows, 32 / knobs.batch, int64_t{16}})) pass_rows *= 2;
    int64_t sum_rows = divide_up(warp_rows, pass_rows) * pass_rows * kRecurrentWarps;
    layout.shared_bytes = (knobs.batch * chunks * 4 + sum_rows * pitch) * 4;
    int64_t weights = rows * chunks * 16;
    if (layout.shared_bytes + weights <= most_shared_bytes) {
      layout.shared_depth = 1;
      layout.shared_bytes += weights;
    }
  } else {
    constexpr int64_t kRegisterTiles = 28;  // 4 registers each; with the sums
    layout.parts = spec.dtype == DType::kFloat16 ? 2 : 3;
    int64_t row_tiles = divide_up(rows, 16);
    int64_t depth_tiles = divide_up(spec.hidden, 16);
    int64_t most_groups = row_tiles >= 8 ? kRecurrentWarps / 2 : kRecurrentWarps;
    while (layout.groups * 2 <= std::min(most_groups, depth_tiles)) layout.groups *= 2;
    int64_t warp_rows = divide_up(row_tiles, kRecurrentWarps / layout.groups);
    int64_t warp_depth = divide_up(depth_tiles, layout.groups);
    layout.shared_bytes =
        depth_tiles * 64 * layout.parts * 4 + layout.groups * row_tiles * 16 * pitch * 4;
    layout.register_depth =
        std::min(warp_depth, std::max<int64_t>(0, kRegisterTiles - warp_rows) / warp_rows);
    int64_t slice = kRecurrentWarps * warp_rows * 512;
    int64_t room = std::max<int64_t>(0, most_shared_bytes - layout.shared_bytes) / slice;
    layout.shared_depth = std::min(warp_depth - layout.register_depth, room);
    layout.shared_bytes += layout.shared_depth * slice;
  }
  if (layout.shared_bytes > most_shared_bytes) {
    return unsupported("a recurrent step takes ", layout.shared_bytes, " bytes of shared memory");
  }
  // So much that a multiprocessor has room for one block: all wait for the slowest, which two on
  // one would be. They could come to that where what was launched early fills others.
  layout.shared_bytes =
      std::max(layout.shared_bytes, most_shared_bytes / 2 + cuda::kReservedSharedBytes);
  return layout;
}

}  // namespace redline
