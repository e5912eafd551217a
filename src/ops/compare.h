// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/tensor.h"
#include "ops/op.h"

namespace redline {

// How far an element e of the expected tensor may be missed:
// relative * max(|e|, least) + to_largest * (largest finite |e| of the tensor).
struct Tolerance {
  double relative = 0;
  double to_largest = 0;
  double least = 0;  // the smallest normal number: values below it have the same step as it

  // Of an e that is not finite without its own part.
  double limit(double e, double largest) const;
};

// Distance of 1 to the next value; 0 for types that are compared exactly.
double dtype_epsilon(DType dtype);

// The smallest number of full precision; 0 for types that are compared exactly.
double smallest_normal(DType dtype);

// What rounding in another order may change when each element sums `reduction_length` products,
// accumulated in f32 (f64 for f64) and rounded to `dtype` once.
Tolerance rounding_tolerance(DType dtype, int64_t reduction_length = 1);

// Products or terms that an output element of the op sums: from its cost where it has one, else,
// for ops that compute more than pointwise, at most the elements of its largest input. Sizes are
// known.
int64_t reduction_length(const OpDef& op, const Attrs& attrs, std::span<const Type> inputs,
                         std::span<const Type> outputs);

// OK, or what differs most: kind, type, sizes, or the worst element with its place. NaN matches
// NaN, infinities match themselves. With a zero tolerance elements are compared as numbers.
Status compare_tensors(const Tensor& expected, const Tensor& actual, const Tolerance& tolerance);
// Tensors inside are compared to rounding_tolerance of their own type.
Status compare_values(const HostValue& expected, const HostValue& actual,
                      int64_t reduction_length = 1);
// Float tensors inside are compared to `floats`, others exactly.
Status compare_values(const HostValue& expected, const HostValue& actual, const Tolerance& floats);

}  // namespace redline
