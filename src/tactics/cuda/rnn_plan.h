// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "ops/recurrent.h"
#include "tactics/cuda/product.h"
#include "tactics/tactic.h"

// What the kernels of rnn, gru and lstm (kernels/cuda/recurrent) are told, and what follows from
// it.
namespace redline {

struct RecurrentSpec {
  DType dtype = DType::kFloat16;
  DType length_dtype = DType::kInt32;
  int64_t gates = 4, hidden = 0, input = 0, directions = 1;
  int64_t sequence = kDynamicDim, batch = kDynamicDim;
  bool constant = false;  // the recurrent weights
  bool twice = false;     // a gru of two products a step

  int64_t rows() const;  // of the product x w, or kDynamicDim
};
Result<RecurrentSpec> recurrent_spec(const Problem& problem);
// Of any problem.
int64_t recurrent_gates(const Problem& problem);

// How the steps run.
struct RecurrentKnobs {
  int64_t units = 4;  // of a block, at least: on a GPU of few multiprocessors more
  int64_t batch = 8;  // sequences at a time
};
Result<RecurrentKnobs> recurrent_knobs(const Config& config, const RecurrentSpec& spec);
// The numbers of units a block may have, growing.
std::span<const int64_t> recurrent_units(const RecurrentSpec& spec);
// Blocks that must run at once.
int64_t recurrent_blocks(const RecurrentSpec& spec, const RecurrentKnobs& knobs);
// Best guess first, for a GPU of the usual number of multiprocessors.
std::vector<Config> recurrent_configs(const RecurrentSpec& spec);

// Where a block's weights are, and what it takes.
struct RecurrentLayout {
  int64_t groups = 1, parts = 2;
  int64_t register_depth = 0, shared_depth = 0;
  int64_t shared_bytes = 0;
};
inline constexpr int64_t kRecurrentWarps = 8;
Result<RecurrentLayout> recurrent_layout(const RecurrentSpec& spec, const RecurrentKnobs& knobs,
                                         int64_t most_shared_bytes);

// The struct Activations of f, g and h, each of a direction and a value of `type` (float, double).
Result<std::string> recurrent_activations_text(const Problem& problem, std::string_view type);

// Two: the product x w for all steps, and the steps.
inline constexpr std::string_view kGatesEntry = "recurrent_gates";
// Names the units: it tells how many they became.
std::string recurrent_steps_entry(const RecurrentKnobs& knobs);
Result<std::vector<cuda::KernelSource>> recurrent_kernels(const Problem& problem,
                                                          const RecurrentSpec& spec,
                                                          RecurrentKnobs knobs,
                                                          const ProductKnobs& product,
                                                          const cuda::DeviceInfo& device);

}  // namespace redline
