// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/pool/pool.h"
#include "ops/channels_last.h"
#include "ops/conv.h"
#include "tactics/tactic.h"

namespace redline {

// One plane's sizes and the window on it; with one spatial axis the other has size 1.
struct ConvSizes {
  int64_t batch = 0, groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of a group
  kernels::Window2d window;
  int64_t in_area() const { return window.height * window.width; }
  int64_t out_area() const { return window.out_height * window.out_width; }
  int64_t depth() const { return in_channels * window.kernel_y * window.kernel_x; }
};

inline ConvSizes conv_sizes(const Problem& problem) {
  const auto& attrs = problem.attrs.as<ConvAttrs>();
  Dims x = image_dims(problem.inputs[0].dims, attrs.channels_last);
  const Dims& w = problem.inputs[1].dims;
  Dims out = image_dims(problem.outputs[0].dims, attrs.channels_last);
  ConvSizes s;
  s.batch = x[0];
  s.groups = attrs.group;
  s.in_channels = w[1];
  s.out_channels = w[0] / attrs.group;
  std::vector<WindowAxis> axes = conv_axes(attrs, x, w, out);
  kernels::Window2d& window = s.window;
  window.height = window.out_height = 1;
  if (axes.size() == 2) {
    const WindowAxis& rows = axes[0];
    window.height = rows.in;
    window.out_height = rows.out;
    window.kernel_y = rows.kernel;
    window.stride_y = rows.stride;
    window.dilation_y = rows.dilation;
    window.pad_top = rows.pad_begin;
  }
  const WindowAxis& columns = axes.back();
  window.width = columns.in;
  window.out_width = columns.out;
  window.kernel_x = columns.kernel;
  window.stride_x = columns.stride;
  window.dilation_x = columns.dilation;
  window.pad_left = columns.pad_begin;
  return s;
}

}  // namespace redline
