// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// Random numbers come from Philox4x32-10 (Salmon et al. 2011), a counter-based generator: element i
// depends on the seed and i alone. The key is the 64-bit pattern of the seed; without a seed each
// run draws a new one from the operating system.

// random_normal(like?), random_uniform(like?): values for the sizes `shape`, or for those of the
// operand. Element type `dtype`, else that of the operand, else f32.
struct RandomNormalAttrs {
  std::optional<SymDims> shape;
  std::optional<DType> dtype;
  float mean = 0;
  float scale = 1;
  std::optional<float> seed;
  template <class V>
  void fields(V& v) {
    v("shape", shape);
    v("dtype", dtype);
    v("mean", mean);
    v("scale", scale);
    v("seed", seed);
  }
};

struct RandomUniformAttrs {
  std::optional<SymDims> shape;
  std::optional<DType> dtype;
  float low = 0;
  float high = 1;
  std::optional<float> seed;
  template <class V>
  void fields(V& v) {
    v("shape", shape);
    v("dtype", dtype);
    v("low", low);
    v("high", high);
    v("seed", seed);
  }
};

// bernoulli(p): 1 with probability p, else 0, in `dtype`, else the type of p.
struct BernoulliAttrs {
  std::optional<DType> dtype;
  std::optional<float> seed;
  template <class V>
  void fields(V& v) {
    v("dtype", dtype);
    v("seed", seed);
  }
};

// multinomial(log_weights [batch, classes]): sample_size class indices for each row.
struct MultinomialAttrs {
  DType dtype = DType::kInt32;
  int64_t sample_size = 1;
  std::optional<float> seed;
  template <class V>
  void fields(V& v) {
    v("dtype", dtype);
    v("sample_size", sample_size);
    v("seed", seed);
  }
};

// dropout(data, ratio?, training_mode?): data itself and a mask of ones, unless training_mode is
// true: then each element is zero with probability ratio (0.5 when absent) and the others are
// scaled by 1 / (1 - ratio).
struct DropoutAttrs {
  std::optional<int64_t> seed;
  template <class V>
  void fields(V& v) {
    v("seed", seed);
  }
};

}  // namespace redline
