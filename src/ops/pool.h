// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"
#include "ops/window.h"

namespace redline {

// max_pool(x [n, c, ...]) -> y, indices?: an index is the flat position in x of the maximum;
// storage_order 1 counts the spatial axes of x in column-major order. With channels_last x and y
// are [n, ..., c], and there are no indices.
struct MaxPoolAttrs {
  std::vector<int64_t> kernel_shape;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;
  bool storage_order = false;
  bool channels_last = false;
  template <class V>
  void fields(V& v) {
    v("kernel_shape", kernel_shape);
    v("strides", strides);
    v("dilations", dilations);
    v("pads", pads);
    v("auto_pad", auto_pad);
    v("ceil_mode", ceil_mode);
    v("storage_order", storage_order);
    v("channels_last", channels_last);
  }
};

// average_pool(x): count_include_pad divides by the number of elements of the window inside the
// padded input, else inside the input. channels_last as for max_pool.
struct AveragePoolAttrs {
  std::vector<int64_t> kernel_shape;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;
  bool count_include_pad = false;
  bool channels_last = false;
  template <class V>
  void fields(V& v) {
    v("kernel_shape", kernel_shape);
    v("strides", strides);
    v("dilations", dilations);
    v("pads", pads);
    v("auto_pad", auto_pad);
    v("ceil_mode", ceil_mode);
    v("count_include_pad", count_include_pad);
    v("channels_last", channels_last);
  }
};

// lp_pool(x): (sum |x|^p)^(1/p).
struct LpPoolAttrs {
  std::vector<int64_t> kernel_shape;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;
  int64_t p = 2;
  template <class V>
  void fields(V& v) {
    v("kernel_shape", kernel_shape);
    v("strides", strides);
    v("dilations", dilations);
    v("pads", pads);
    v("auto_pad", auto_pad);
    v("ceil_mode", ceil_mode);
    v("p", p);
  }
};

// global_lp_pool(x): the same over all of the spatial axes. (global_average_pool and
// global_max_pool have no attributes.)
struct GlobalLpPoolAttrs {
  int64_t p = 2;
  template <class V>
  void fields(V& v) {
    v("p", p);
  }
};

// max_unpool(x, indices, output_shape?): x put where max_pool found it, zeros elsewhere.
struct MaxUnpoolAttrs {
  std::vector<int64_t> kernel_shape;
  std::vector<int64_t> strides;
  std::vector<int64_t> pads;
  template <class V>
  void fields(V& v) {
    v("kernel_shape", kernel_shape);
    v("strides", strides);
    v("pads", pads);
  }
};

// The sizes of the tensor that was pooled, in which max_unpool's indices count: what the attributes
// make of x's sizes, which an explicit output_shape may enlarge. An error where they are none.
Result<Dims> pooled_sizes(const MaxUnpoolAttrs& attrs, const Dims& x);

}  // namespace redline
