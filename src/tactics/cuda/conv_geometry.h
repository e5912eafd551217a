// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ops/channels_last.h"
#include "ops/conv.h"
#include "ops/window.h"
#include "tactics/cuda/kernel_sizes.h"
#include "tactics/tactic.h"

// Windows over channels-last images of one or two spatial axes, whose sizes and pads may be unknown
// (kDynamicDim) when a kernel is written.
namespace redline {

// What kernels for unknown numbers of images, and images of unknown sizes, are tuned for.
inline constexpr int64_t kUsualImages = 8;
inline constexpr int64_t kUsualSize = 32;
// `places`: rows of an image.
inline int64_t usual_rows(int64_t rows, int64_t places) {
  return known_or(rows, kUsualImages * known_or(places, kUsualSize * kUsualSize));
}

struct WindowGeometry {
  WindowAxis y, x;  // an image of one axis is one row
  int64_t taps() const { return y.kernel * x.kernel; }
  int64_t places() const {
    return y.out == kDynamicDim || x.out == kDynamicDim ? kDynamicDim : y.out * x.out;
  }
  bool is_pointwise() const {
    auto plain = [](const WindowAxis& axis) {
      return axis.kernel == 1 && axis.stride == 1 && axis.pad_begin == 0 && axis.pad_end == 0;
    };
    return plain(y) && plain(x);
  }
  bool has_known_pads() const { return y.pad_begin != kDynamicDim && x.pad_begin != kDynamicDim; }
  // "static constexpr int kKernelHeight = ..." of kernels/cuda/product/sources.cuh
  std::string numbers() const;
  // What else they read.
  KernelSizes sizes() const;
};

inline WindowGeometry geometry_of(std::vector<WindowAxis> axes, AutoPad auto_pad) {
  bool same = auto_pad == AutoPad::kSameUpper || auto_pad == AutoPad::kSameLower;
  for (WindowAxis& axis : axes) {
    bool known = axis.in != kDynamicDim && axis.out != kDynamicDim;
    if (known || !same) continue;
    // Windows of one element need no padding.
    axis.pad_begin = axis.pad_end = axis.kernel == 1 ? 0 : kDynamicDim;
  }
  if (axes.size() == 1) axes.insert(axes.begin(), WindowAxis{1, 1, 1, 1, 1, 0, 0});
  return {axes[0], axes[1]};
}

inline std::string WindowGeometry::numbers() const {
  std::string text;
  for (auto [name, value] : {std::pair<const char*, int64_t>{"KernelHeight", y.kernel},
                             {"KernelWidth", x.kernel},
                             {"StrideY", y.stride},
                             {"StrideX", x.stride},
                             {"DilationY", y.dilation},
                             {"DilationX", x.dilation}}) {
    text += str_cat("  static constexpr int k", name, " = ", value, ";\n");
  }
  return text;
}

inline KernelSizes WindowGeometry::sizes() const {
  KernelSizes sizes;
  sizes.add("height", y.in);
  sizes.add("width", x.in);
  sizes.add("out_height", y.out);
  sizes.add("out_width", x.out);
  sizes.add("places", places());
  sizes.add("pad_y", y.pad_begin);
  sizes.add("pad_x", x.pad_begin);
  sizes.add_quotient("by_places", places());
  sizes.add_quotient("by_out_width", x.out);
  return sizes;
}

// OK for an operand [n, ..., c] of one or two spatial axes whose channels are known, and whose
// images are of at most 2^30 elements as far as their sizes are known.
inline Status check_image(const OperandDesc& image) {
  if (!image.is_tensor || !image.has_rank) return unsupported("takes tensors of known rank");
  int rank = image.dims.rank();
  if (rank != 3 && rank != 4) return unsupported("takes 1 or 2 spatial axes");
  if (image.dims.back() == kDynamicDim) return unsupported("takes a known number of channels");
  if (image.dims.back() == 0) return unsupported("takes no images without channels");
  int64_t elements = 1;
  for (int axis = 1; axis < rank; ++axis) {
    int64_t size = image.dims[static_cast<size_t>(axis)];
    if (size == kDynamicDim) continue;
    if (size > (INT64_C(1) << 30) / std::max<int64_t>(elements, 1))
      return unsupported("images of more than 2^30 elements");
    elements *= size;
  }
  return {};
}

}  // namespace redline
