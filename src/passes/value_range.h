// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <unordered_map>

#include "base/thread_pool.h"
#include "ir/graph.h"
#include "ir/interpreter.h"

namespace redline {

// The largest finite value of f16 or bf16.
double largest_half(DType half);

// How an f32 constant fares in a 16-bit type.
struct ConstantFit {
  double largest = 0;      // of its finite magnitudes
  bool is_coarse = false;  // its elements, by their root mean square, keep 8 bits or fewer
  bool vanishes = false;   // all become zero, and not all were
};
ConstantFit fit_of_constant(const Tensor& constant, DType half, ThreadPool* pool);
// The constant in the type. Finite elements beyond its range become its limit.
Result<Tensor> constant_in(DType half, const Tensor& constant, ThreadPool* pool);

// The largest finite magnitude that each f32 value took in one run.
struct MeasuredRange {
  std::unordered_map<const Value*, double> largest;
  bool complete = false;  // it ran to its end
  std::string outcome;    // for people: what was run, or why nothing was
};
// Runs the graph by `runner` (null: with the references) on seeded random inputs. Left out when its
// estimated work exceeds `most_work` elementary operations.
MeasuredRange measure_range(const Graph& graph, const SymbolValues& symbols, double most_work,
                            const GraphRunner& runner);

}  // namespace redline
