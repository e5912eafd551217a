// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"
#include "ops/window.h"

namespace redline {

// conv(x [n, c, ...], w [m, c/group, ...], b? [m]) and conv_integer(x, w, x_zero_point?,
// w_zero_point?) -> i32. The window's size is that of w. Lists may be empty: see Window. With
// channels_last x and y are [n, ..., c]; w stays as it is. tf32 is for conv alone.
struct ConvAttrs {
  AutoPad auto_pad = AutoPad::kNotSet;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  int64_t group = 1;
  bool channels_last = false;
  bool tf32 = false;  // see tf32.h
  template <class V>
  void fields(V& v) {
    v("auto_pad", auto_pad);
    v("strides", strides);
    v("dilations", dilations);
    v("pads", pads);
    v("group", group);
    v("channels_last", channels_last);
    v("tf32", tf32);
  }
};

// conv_transpose(x [n, c, ...], w [c, m/group, ...], b? [m]): the gradient of conv. When
// output_shape is given, pads follow from it. channels_last as for conv.
struct ConvTransposeAttrs {
  AutoPad auto_pad = AutoPad::kNotSet;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  std::vector<int64_t> output_padding;
  std::vector<int64_t> output_shape;
  int64_t group = 1;
  bool channels_last = false;
  bool tf32 = false;  // see tf32.h
  template <class V>
  void fields(V& v) {
    v("auto_pad", auto_pad);
    v("strides", strides);
    v("dilations", dilations);
    v("pads", pads);
    v("output_padding", output_padding);
    v("output_shape", output_shape);
    v("group", group);
    v("channels_last", channels_last);
    v("tf32", tf32);
  }
};

// The spatial axes for concrete sizes, all as [n, c, ...] (see channels_last.h) and checked by the
// op's rule. Those of a transposed convolution are of the conv that leads back: `in` is the output.
std::vector<WindowAxis> conv_axes(const ConvAttrs& attrs, const Dims& x, const Dims& w,
                                  const Dims& out);
std::vector<WindowAxis> conv_transpose_axes(const ConvTransposeAttrs& attrs, const Dims& x,
                                            const Dims& w, const Dims& out);

// Single elements of conv and conv_transpose, for their OpDef.
struct ReferenceAt;
Status reference_conv_at(const ReferenceAt& at);
Status reference_conv_transpose_at(const ReferenceAt& at);

// deform_conv(x, w, offset, b?, mask?): conv whose taps are moved by offset (linear interpolation)
// and scaled by mask.
struct DeformConvAttrs {
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  int64_t group = 1;
  int64_t offset_group = 1;
  template <class V>
  void fields(V& v) {
    v("strides", strides);
    v("dilations", dilations);
    v("pads", pads);
    v("group", group);
    v("offset_group", offset_group);
  }
};

}  // namespace redline
