// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

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

}  // namespace redline
