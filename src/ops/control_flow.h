// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "ops/op.h"

namespace redline {

// if(condition) {then, else}: the outputs of the one that is chosen.
//
// loop(trip_count?, condition?, state...) -> state..., scanned... {body}: the body maps
// (iteration, condition, state...) to (condition, state..., element...); the elements of all
// iterations, stacked along a new first axis, are the last outputs.
//
// scan(lengths?, state..., scanned...) -> state..., scanned... {body}: the body maps
// (state..., element...) to (state..., element...), once for each index along the scanned inputs'
// axes. batched: the form of opset 8, in which axis 0 of every operand is a batch and `lengths`
// tells the length of each, the rest of whose results is zero.
struct ScanAttrs {
  int64_t num_scanned = 1;  // how many of the inputs are scanned
  bool batched = false;
  // By scanned input or output; empty: all 0 (forward).
  std::vector<int64_t> input_axes;
  std::vector<int64_t> output_axes;
  std::vector<int64_t> input_reversed;
  std::vector<int64_t> output_reversed;
  template <class V>
  void fields(V& v) {
    v("num_scanned", num_scanned);
    v("batched", batched);
    v("input_axes", input_axes);
    v("output_axes", output_axes);
    v("input_reversed", input_reversed);
    v("output_reversed", output_reversed);
  }
};

// Inputs of a loop, and of its body, from here on are states.
inline constexpr size_t kFirstState = 2;

// What a value says that is the condition of an if or a loop; a bool of one element, or an error.
Result<bool> condition_of(const HostValue& value);
// A loop's; an i64 of one element, or an error.
Result<int64_t> trip_count(const HostValue& value);
// What all iterations of a loop made, stacked along a new first axis. Without any, of `type`, whose
// unknown sizes become 0.
Result<Tensor> stack_results(std::vector<Tensor> results, const Type& type);

}  // namespace redline
