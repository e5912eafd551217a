// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tactics/cuda/conv_geometry.h"
#include "tactics/cuda/product_tail.h"
#include "tactics/tactic.h"

// Steps that look at each channel of a channels-last image for itself
// (kernels/cuda/window/windows.cuh): depthwise convolutions and pools.
namespace redline {

struct WindowSpec {
  DType dtype = DType::kFloat32;
  int64_t images = kDynamicDim;
  int64_t channels = 0;
  WindowGeometry window;
  size_t x_input = 0;
  // Of windows.cuh, with LANES for the lanes and PACKED for what the knob says; its members may be
  // inputs and `sizes`.
  std::string op_type;
  std::string op_members;
  int packed_input = -1;  // filters as [tap][channel], when the knob says so
};

std::vector<Config> window_configs(const WindowSpec& spec, const ProductTail& tail);
Result<std::vector<cuda::KernelSource>> window_kernels(const Problem& problem,
                                                       const WindowSpec& spec,
                                                       const ProductTail& tail,
                                                       const Config& config,
                                                       const cuda::DeviceInfo& device);
// `written`: as the kernel was written.
Result<std::unique_ptr<Kernel>> prepare_window(const Problem& problem, const WindowSpec& spec,
                                               const WindowSpec& written, const ProductTail& tail,
                                               const Config& config, const PrepareArgs& args);

}  // namespace redline
