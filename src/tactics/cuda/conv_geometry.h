// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ops/channels_last.h"
#include "ops/conv.h"
#include "ops/window.h"
#include "tactics/tactic.h"

// Windows over channels-last images of one or two spatial axes, for kernels whose sizes are known.
namespace redline {

struct WindowGeometry {
  WindowAxis y, x;  // an image of one axis is one row
  int64_t taps() const { return y.kernel * x.kernel; }
  bool is_pointwise() const {
    auto plain = [](const WindowAxis& axis) {
      return axis.kernel == 1 && axis.stride == 1 && axis.pad_begin == 0 && axis.out == axis.in;
    };
    return plain(y) && plain(x);
  }
  // "static constexpr int kHeight = ..." of kernels/cuda/product/sources.cuh
  std::string numbers() const;
};

inline WindowGeometry geometry_of(std::vector<WindowAxis> axes) {
  if (axes.size() == 1) axes.insert(axes.begin(), WindowAxis{1, 1, 1, 1, 1, 0, 0});
  return {axes[0], axes[1]};
}

inline std::string WindowGeometry::numbers() const {
  std::string text;
  for (auto [name, value] : {std::pair<const char*, int64_t>{"Height", y.in},
                             {"Width", x.in},
                             {"OutHeight", y.out},
                             {"OutWidth", x.out},
                             {"KernelHeight", y.kernel},
                             {"KernelWidth", x.kernel},
                             {"StrideY", y.stride},
                             {"StrideX", x.stride},
                             {"PadY", y.pad_begin},
                             {"PadX", x.pad_begin},
                             {"DilationY", y.dilation},
                             {"DilationX", x.dilation}}) {
    text += str_cat("  static constexpr int k", name, " = ", value, ";\n");
  }
  return text;
}

// OK for an operand [n, ..., c] of one or two spatial axes whose sizes but n are known and not 0,
// and whose images are of at most 2^30 elements.
inline Status check_image(const OperandDesc& image) {
  if (!image.is_tensor || !image.has_rank) return unsupported("takes tensors of known rank");
  int rank = image.dims.rank();
  if (rank != 3 && rank != 4) return unsupported("takes 1 or 2 spatial axes");
  int64_t elements = 1;
  for (int axis = 1; axis < rank; ++axis) {
    int64_t size = image.dims[static_cast<size_t>(axis)];
    if (size == kDynamicDim) return unsupported("takes images of known sizes");
    if (size == 0) return unsupported("takes no empty images");
    if (size > (INT64_C(1) << 30) / elements)
      return unsupported("images of more than 2^30 elements");
    elements *= size;
  }
  return {};
}

}  // namespace redline
